"""Ways past a gate that only refuses names: each was accepted by it, and ran."""

import textwrap

import pytest

from evocodec.codec.program import Program
from evocodec.sandbox.review.static_review import review_program
from tests.support.default_options import default_policy

CODEC = """
U = "_" * 2
def encode(frames, stream, qp):
    yield b""
def decode(packets, stream):
    yield from packets
"""

WAYS = {
    "any attribute by a formatter": """
        import string
        def box():
            return string.Formatter().get_field("0." + U + "globals" + U, (encode,), {})[0]
        """,
    "a formatter of another name": """
        from string import Formatter as F
        """,
    "a class with computed methods, and a pattern": """
        import abc
        def attribute(thing):
            kind = abc.ABCMeta("X", (), {U + "match_args" + U: (U + "globals" + U,)})
            match thing:
                case kind(found):
                    return found
        """,
    "an annotation that singledispatch evaluates": """
        import functools
        @functools.singledispatch
        def g(x): pass
        @g.register
        def h(x: "exec(CODE, BOX)"): pass
        """,
    "an annotation inside another": """
        from typing import Optional
        def h(x: Optional["exec(CODE)"]): pass
        """,
    "a module that a function returns": """
        import numpy as np
        def lib(): return np.lib
        x = lib().introspect.opt_func_info
        """,
    "a module parked in an attribute": """
        import cv2
        class S: pass
        s = S()
        s.m = cv2.typing
        y = s.m.cv2.UMat
        """,
    "a module in a list": """
        import numpy as np
        x = [np.ma][0].core
        """,
    "a module imported in a class": """
        class A:
            from numpy import lib as m
        x = A().m.introspect
        """,
    "a module given away in a class body": """
        import numpy as np
        class A:
            m = np.polynomial
        x = A().m.polyutils
        """,
    "a module that a class body reads past its function": """
        import numpy as np
        def f(np):
            class A:
                m = np
                np = 1
            return A.m.introspect
        """,
    "a module as a default": """
        import numpy as np
        def f(m=np.linalg): return m.lapack_lite
        """,
    "a module compared with an object of the program": """
        import numpy as np
        class E:
            def __eq__(self, other): self.m = other
        x = np.fft == E()
        """,
    "a builtin that a class body reads past its function": """
        def f(type):
            class A:
                t = type
                type = 1
            return A.t("X", (), {})
        """,
    "numba's signatures in a list": """
        import numba
        @numba.vectorize(["exec(1)"])
        def f(x): return x
        """,
    "numba's signature in a variable": """
        import numba
        SIG = "exec(1)"
        @numba.njit(SIG)
        def f(x): return x
        """,
    "numba's signature by keyword": """
        import numba
        f = numba.jit(signature_or_function="exec" + "(1)")
        """,
    "numba's signature that reads memory": """
        import numba
        @numba.njit("int32(ctypes.string_at(4096))")
        def f(x): return x
        """,
    "numba's decorator given away": """
        import numba
        def use(d): return d("exec" + "(1)")
        x = use(numba.njit)
        """,
    "a class of numba, whose annotations it evaluates": """
        from numba.experimental import jitclass
        @jitclass
        class A:
            x: list["exec(1)"]
        """,
    "memory past an array's end": """
        import numpy as np
        x = np.lib.stride_tricks.as_strided(np.zeros(1), (10**6,), (8,))
        """,
    "memory at an address": """
        import numpy as np
        x = np.lib.array_utils.byte_bounds(np.zeros(1))
        """,
    "type as a value": """
        make = (lambda t: t)(type)
        x = make("X", (), {U + "array_interface" + U: {}})
        """,
    "type of a type": """
        make = type(int)
        x = make("X", (), {U + "array_interface" + U: {}})
        """,
    "type shown to an object of the program": """
        class E:
            def __eq__(self, other): self.t = other
        e = E()
        x = type(int) == e
        """,
    "an empty enum, which makes classes": """
        import enum
        class E(enum.Enum): pass
        X = E("X", {U + "match_args" + U: (U + "globals" + U,)})
        """,
    "an enum that makes classes itself": """
        import enum
        X = enum.Enum("X", {U + "match_args" + U: (U + "globals" + U,)})
        """,
    "a metaclass": """
        def make(name, bases, names): return [name, bases, names]
        class A(metaclass=make): pass
        """,
    "a positional pattern of a class that was computed": """
        def look(kind, thing):
            match thing:
                case kind(found): return found
        """,
    "attributes that are copied by computed names": """
        import functools
        class Box: pass
        x = functools.update_wrapper(Box(), encode, (U + "globals" + U,), ())
        """,
    "an attribute of a computed name by cached_property": """
        import functools
        class X:
            v = functools.cached_property(lambda self: {"data": (4096, False)})
        X.v.attrname = U + "array_interface" + U
        """,
    "code in a field's name": """
        import dataclasses
        @dataclasses.dataclass
        class B:
            x: int = 0
        dataclasses.fields(B)[0].name = "x=print(1)"
        @dataclasses.dataclass
        class D(B): pass
        """,
    "code in the name of a field that was kept": """
        import dataclasses
        kept = dataclasses.field()
        @dataclasses.dataclass
        class B:
            x: int = kept
        kept.name = "x=print(1)"
        """,
    "code in the names of annotations": """
        from dataclasses import dataclass
        @dataclass
        class B:
            a: int = 0
            __annotations__["b=print(1)"] = int
        """,
    "a format text that is computed": """
        def f(x): return ("{0." + U + "class" + U + "}").format(x)
        """,
    "a format text through map": """
        def f(x): return list(map(("{0." + U + "class" + U + "}").format, [x]))
        """,
    "format_map": """
        def f(x): return ("{a." + U + "class" + U + "}").format_map({"a": x})
        """,
    "names of the caller by a text": """
        import numpy as np
        def f(a): return np.bmat("a, a")
        """,
    "opening names by optical flow": "import cv2\ncv2.readOpticalFlow('/x')",
    "writing names by optical flow": "import cv2\ncv2.writeOpticalFlow('/x', 0)",
    "a point cloud": "import cv2\ncv2.loadPointCloud('/x')",
    "a mesh": "import cv2\ncv2.saveMesh('/x', 0)",
    "a clock of cycles": "import cv2\ncv2.getCPUTickCount()",
    "a clock": "import cv2\ncv2.TickMeter()",
    "a model from a file": "import cv2\ncv2.TrackerNano_create()",
    "a detector from a file": "import cv2\ncv2.FaceDetectorYN.create('/x', '', (1, 1))",
    "an algorithm's file": "import cv2\ncv2.createCLAHE().save('/x')",
    "an array's pickle": "import numpy as np\nnp.zeros(1).dump('/x')",
    "changing the folder": "import contextlib\ncontextlib.chdir('/')",
    "random bytes of the system": "import random\nrandom.SystemRandom().random()",
    "addresses of a bit generator": "import numpy as np\nnp.random.PCG64().cffi.state_address",
    "arrays from a capsule": "import numpy as np\nnp.from_dlpack(0)",
    "numba's own compiler": """
        import numba
        @numba.njit
        def f(x): return x
        y = f.targetctx
        """,
    "a private part of an object": """
        import numpy as np
        x = np.random.default_rng()._bit_generator
        """,
}  # fmt: skip


@pytest.mark.parametrize("program", WAYS.values(), ids=WAYS.keys())
def test_a_way_past_a_list_of_refused_names_is_refused(program: str) -> None:
    review = review_program(Program(CODEC + textwrap.dedent(program)), default_policy())
    assert not review.accepted
    assert all(finding.message for finding in review.findings)
