"""The static gate: a table of tricks that it refuses, and of programs that it must let through."""

import importlib.resources
import textwrap
from pathlib import Path

import pytest

from evocodec.codec.program import Program
from evocodec.domain.candidate import Review
from evocodec.sandbox.policy import DEFAULT_IMPORTS, Policy
from evocodec.sandbox.review.static_review import review_program
from tests.support.default_options import default_policy


def review_source(text: str, policy: Policy) -> Review:
    return review_program(Program(text), policy)


CODEC = """
def encode(frames, stream, qp):
    for frame in frames:
        yield frame.y.tobytes()

def decode(packets, stream):
    for packet in packets:
        yield packet
"""


def rules_broken(snippet: str, policy: Policy | None = None) -> set[str]:
    review = review_source(textwrap.dedent(snippet) + CODEC, policy or default_policy())
    assert review.accepted == (not review.findings)
    return {finding.rule for finding in review.findings}


REFUSED = [
    # imports
    ("import os", "import"),
    ("import sys", "import"),
    ("import subprocess as math", "import"),
    ("import socket", "import"),
    ("import ctypes", "import"),
    ("import pickle", "import"),
    ("import PIL.Image", "import"),
    ("from PIL import Image", "import"),
    ("import av", "import"),
    ("import imageio_ffmpeg", "import"),
    ("import threading", "import"),
    ("import importlib", "import"),
    ("import os.path as numpy", "import"),
    ("from os import path as np", "import"),
    ("import evocodec", "import"),
    ("import evocodec.guest.server", "import"),
    ("from evocodec.sandbox import policy", "import"),
    ("from . import secrets", "import"),
    ("from .. import x", "import"),
    ("from numpy import *", "star_import"),
    ("def f():\n    import subprocess", "import"),
    ("try:\n    import os\nexcept ImportError:\n    pass", "import"),
    ("import evocodec.codec.contract\nevocodec.video.media", "host_module"),
    # forbidden builtins, called, aliased, or hidden
    ("eval('1')", "builtin"),
    ("exec('1')", "builtin"),
    ("compile('1', 'x', 'exec')", "builtin"),
    ("open('x')", "builtin"),
    ("globals()['x']", "builtin"),
    ("locals()", "builtin"),
    ("vars()", "builtin"),
    ("input()", "builtin"),
    ("breakpoint()", "builtin"),
    ("e = eval", "builtin"),
    ("list(map(eval, ['1']))", "builtin"),
    ("f = lambda run=exec: run('1')", "builtin"),
    ("def f(x=open): pass", "builtin"),
    ("x = f'{eval(\"1\")}'", "builtin"),
    ("x = f'{1:{open}}'", "builtin"),
    ("@eval\ndef f(): pass", "builtin"),
    ("class A(metaclass=eval): pass", "builtin"),
    ("x: eval = 1", "builtin"),
    ("match 1:\n    case x if eval('1'): pass", "builtin"),
    ("[eval for _ in ()]", "builtin"),
    ("type('X', (), {})", "builtin"),
    # the interpreter's inside
    ("__import__('os')", "dunder"),
    ("__builtins__", "dunder"),
    ("__loader__", "dunder"),
    ("__spec__.loader", "dunder"),
    ("().__class__.__base__.__subclasses__()", "dunder"),
    ("(lambda: 0).__globals__", "dunder"),
    ("encode.__code__", "dunder"),
    ("x = 1\nx.__dict__", "dunder"),
    ("(i for i in ()).gi_frame.f_back", "dunder"),
    ("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    e.__traceback__.tb_frame", "dunder"),
    ("class A:\n    def __getattr__(self, n): return n", "dunder"),
    ("class A:\n    def __reduce__(self): return print, ('x',)", "dunder"),
    ("match 1:\n    case int(__class__=c): pass", "dunder"),
    ("'{0.__class__}'.format(1)", "dunder"),
    ("def f(x: '__import__(\"os\")'): pass", "dunder"),
    ("dict(__class__=1)", "dunder"),
    ("def f(__builtins__): pass", "dunder"),
    # attribute names made at run time
    ("getattr(1, 'ev' + 'al')", "dynamic_attribute"),
    ("g = getattr", "dynamic_attribute"),
    ("import functools\nfunctools.reduce(getattr, ['a'], 1)", "dynamic_attribute"),
    ("getattr(1, '__class__')", "dunder"),
    ("getattr(1, *['x'])", "dynamic_attribute"),
    ("setattr(encode, 'x' * 2, 1)", "dynamic_attribute"),
    ("delattr(encode, chr(120))", "dynamic_attribute"),
    ("import numpy as np\ngetattr(np, 'load')", "dynamic_attribute"),
    ("import cv2\ngetattr(cv2.fisheye, 'x')", "dynamic_attribute"),
    ("import operator\noperator.attrgetter('a')", "builtin"),
    ("from operator import methodcaller", "builtin"),
    # existing codecs
    ("import cv2\ncv2.imencode('.jpg', 0)", "library_codec"),
    ("import cv2 as c\nc.imdecode(0, 0)", "library_codec"),
    ("from cv2 import imencode as x", "library_codec"),
    ("from cv2 import VideoWriter", "library_codec"),
    ("import cv2\nf = cv2.imencode", "library_codec"),
    ("import cv2\ncv2.VideoCapture('x')", "library_codec"),
    ("import cv2\ncv2.VideoWriter_fourcc(*'MJPG')", "library_codec"),
    ("import cv2\ncv2.imencodemulti('.png', [])", "library_codec"),
    ("import cv2\ncv2.imreadmulti('x')", "library_codec"),
    ("import cv2\ncv2.cudacodec.createVideoWriter", "library_codec"),
    ("import cv2\ncv2.haveImageWriter('x')", "library_codec"),
    ("import torchvision.io", "library_codec"),
    ("from torchvision.io import encode_jpeg", "library_codec"),
    ("import torchvision\ntorchvision.io.decode_jpeg", "library_codec"),
    ("from torchvision import io as q", "library_codec"),
    ("import torchvision.transforms.v2 as t\nt.JPEG(5)", "library_codec"),
    ("def f(thing): return thing.imencode('.png', 0)", "library_codec"),
    ("match 1:\n    case object(imencode=f): pass", "library_codec"),
    # a library under another name
    ("import cv2\nc = cv2\nc.imwrite", "library_value"),
    ("import numpy as np\nfor m in (np,): m.load('x')", "library_value"),
    ("import numpy as np\n(lambda m=np: m.load('x'))()", "library_value"),
    ("import numpy as np\n(m := np).load('x')", "library_value"),
    ("import numpy as np\n[np][0].load('x')", "library_value"),
    ("import numpy as np\ndef f(np=np): return np.load('x')", "library_value"),
    ("import math\ndef f():\n    [math for math in ()]\n    return math.sys", "host_module"),
    ("import math\ndef f(a=math.sys):\n    math = 1", "host_module"),
    ("import math\nclass A:\n    math = 1\n    def f(self): return math.sys", "host_module"),
    ("def f():\n    global math\n    import math\ndef g(): return math.sys", "host_module"),
    ("import torch\nh = torch.utils\nk = h\nk.model_zoo", "file_access"),
    # the host through a library
    ("import math\nmath.sys.modules", "host_module"),
    ("import numpy as np\nnp.sys", "host_module"),
    ("import functools\nfunctools.sys", "host_module"),
    ("import cv2\ncv2.os.system('x')", "host_module"),
    ("from cv2 import os", "host_module"),
    ("from statistics import sys as s", "host_module"),
    ("import enum\nenum.bltns.eval('1')", "host_module"),
    ("import random\nrandom._os.system('x')", "private"),
    ("import dataclasses\ndataclasses.inspect", "host_module"),
    ("import dataclasses\ndataclasses.make_dataclass('X', [])", "builtin"),
    ("from typing import get_type_hints", "unsafe_loading"),
    ("import io\nio.open('x')", "host_module"),
    ("from io import FileIO", "host_module"),
    ("import lzma\nlzma.open('x')", "host_module"),
    ("import numpy as np\nnp.core._multiarray_umath", "private"),
    ("from numpy import _core", "private"),
    ("import numpy._core.multiarray", "private"),
    ("def f(x): return x.os", "host_module"),
    # files
    ("import numpy as np\nnp.load('x')", "file_access"),
    ("import numpy as np\nnp.save('x', 1)", "file_access"),
    ("import numpy as np\nnp.savez_compressed('x')", "file_access"),
    ("import numpy as np\nnp.memmap('x')", "file_access"),
    ("import numpy as np\nnp.lib.format.open_memmap('x')", "host_module"),
    ("from numpy.lib import format as f", "host_module"),
    ("from numpy import load", "file_access"),
    ("def f(x): x.tofile('y')", "file_access"),
    ("import numpy as np\nnp.fromfile('x')", "file_access"),
    ("import scipy.io", "file_access"),
    ("from scipy import io", "file_access"),
    ("import torch\ntorch.load('x')", "file_access"),
    ("import torch\ntorch.save(1, 'x')", "file_access"),
    ("import torch.hub", "file_access"),
    ("import cv2\ncv2.FileStorage('x', 0)", "file_access"),
    # native code and processes
    ("import numpy as np\nnp.ctypeslib", "native_code"),
    ("import numpy as np\nnp.zeros(3).ctypes", "native_code"),
    ("import numpy.ctypeslib", "native_code"),
    ("import torch\ntorch.jit.script", "native_code"),
    ("import torch\ntorch.ops.image", "native_code"),
    ("import torch.utils.cpp_extension", "native_code"),
    ("import torch.multiprocessing", "processes"),
    ("import torch.distributed as d", "processes"),
    ("from numba import objmode", "native_code"),
    ("from numba import cfunc", "native_code"),
    ("from numba import njit\n@njit(cache=True)\ndef f(): pass", "file_access"),
    ("import numba\n@numba.jit(**{'cache': True})\ndef f(): pass", "native_code"),
    ("import numba\n@numba.njit('f(x(\"a\"))')\ndef f(): pass", "unsafe_loading"),
    ("import scipy\nscipy.LowLevelCallable", "native_code"),
    # changing libraries
    ("import numpy as np\nnp.zeros = 1", "patching"),
    ("import math\ndel math.pi", "patching"),
]


@pytest.mark.parametrize(("snippet", "rule"), REFUSED, ids=[case[0] for case in REFUSED])
def test_refused(snippet: str, rule: str) -> None:
    assert rule in rules_broken(snippet)


ACCEPTED = [
    "import math, struct, itertools, functools, collections, heapq, bisect, copy, enum, abc",
    "from collections.abc import Iterator\nfrom typing import NamedTuple\nimport zlib, lzma, bz2",
    "import numpy as np\nx = np.zeros((4, 4), np.uint8)\nx[1:] = 3\ny = x.astype(np.int32).sum()",
    "import numpy as np\nw = np.lib.stride_tricks.sliding_window_view(np.ones(9), 3)",
    "import numpy as np\nrng = np.random.default_rng(0)\nz = rng.integers(0, 9, 3)",
    "import cv2\nx = cv2.resize(0, (2, 2), interpolation=cv2.INTER_AREA)\ny = cv2.dct(x)",
    "import constriction\ndef f(): return constriction.stream.queue.RangeEncoder()",
    "from constriction.stream import queue\nq = queue.RangeEncoder",
    "import scipy.fft\nfrom scipy import ndimage\nd = scipy.fft.dctn",
    "from numba import njit, prange\n@njit(cache=False, fastmath=False)\ndef f(x): return x",
    "import numba\n@numba.njit('int32(int32[:, ::1])')\ndef f(x): return 1",
    "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
    "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.c = nn.Conv2d(1, 1, 3)\n    def forward(self, x):\n"
    "        return F.relu(self.c(x))",
    "import torch\nF = torch.nn.functional\ny = F.pad\ntorch.backends.cudnn.deterministic = True",
    "import torch\nnet = torch.nn.Linear(1, 1)\nnet.eval()\nn = list(net.modules())",
    "from dataclasses import dataclass, field\n@dataclass(slots=True)\nclass A:\n    x: int = 0\n"
    "    z: list[int] = field(default_factory=list)\n"
    "    def __post_init__(self): self.y = self.z\n    def __len__(self): return 1",
    "import io\nb = io.BytesIO()\nb.write(b'x')\nmemoryview(b.getvalue())",
    "x = getattr(encode, 'weights', None)\nif __name__ == '__main__':\n    print(x)",
    "import random\ndef f(random): return random.os_name, random",
    "import array, copy\ndef f(frame):\n    copy = frame.copy()\n    return g(copy)\n"
    "def g(x): return x",
    "import struct\ndef f():\n    struct = 3\n    return [struct]",
    "from evocodec.codec.contract import Frame, StreamInfo\nx = Frame",
    "import evocodec.codec.contract\nx = evocodec.codec.contract.Frame",
    "class Coder:\n    def load(self): return self.save\n    def open(self): pass\nCoder().open()",
    "import functools\n@functools.lru_cache(maxsize=None)\ndef f(x): return x",
    "import math\nx = math.floor(math.log2(8))\ny = f'{math.pi:.3f}'",
    "match (1, 2):\n    case (a, b) if a < b: pass\n    case {'k': v, **rest}: pass",
    "total = 0\ndef f():\n    global total\n    total += 1",
    '"""Docstring about __init__ and __main__."""',
]


@pytest.mark.parametrize("snippet", ACCEPTED)
def test_accepted(snippet: str) -> None:
    review = review_source(snippet + "\n" + CODEC, default_policy())
    assert review.findings == ()


def test_the_table_is_as_long_as_promised() -> None:
    assert len(REFUSED) >= 60
    assert len(ACCEPTED) >= 15


def seeds() -> list[str]:
    folder = importlib.resources.files("evocodec.codec") / "seeds"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".py"))
    return [name for name in names if name != "__init__.py"]


@pytest.mark.parametrize("name", seeds())
def test_the_seed_programs_are_accepted(name: str) -> None:
    source = importlib.resources.files("evocodec.codec").joinpath("seeds", name).read_text()
    assert review_source(source, default_policy()).findings == ()


def test_ordinary_idioms_of_every_library_are_accepted() -> None:
    source = (Path(__file__).parents[1] / "data" / "honest_idioms.py").read_text(encoding="utf-8")
    assert review_source(source, default_policy()).findings == ()


@pytest.mark.parametrize("name", ["open", "input", "help", "type", "dir", "compile"])
def test_a_parameter_may_have_the_name_of_a_builtin(name: str) -> None:
    assert rules_broken(f"def f({name}): return {name}") == set()
    assert rules_broken(f"def f({name}): return {name}\ndef g(): return {name}") != set()


@pytest.mark.parametrize(
    ("source", "line", "part"),
    [
        ("x = 1", 0, "encode(frames, stream, qp)"),
        ("def encode(f, s, q): yield b''", 0, "decode(packets, stream)"),
        ("def decode(p, s): yield\ndef encode(f, s): yield b''", 2, "3 arguments"),
        ("def decode(p, s): yield\ndef encode(f, s, q, extra): yield b''", 2, "3 arguments"),
        ("def decode(p, s): yield\ndef encode(f, s, q, *, must): yield b''", 2, "3 arguments"),
        ("def decode(p, s): yield\nasync def encode(f, s, q): yield b''", 2, "async"),
        ("def decode(p, s): pass\ndef encode(f, s, q): yield b''", 1, "yield its frames"),
        ("def encode(f, s, q):\n    def g(): yield 1\ndef decode(p, s): yield", 1, "yield"),
        ("def compress_video_frame(f, i, c): return b''", 0, "decompress_video_frame"),
        ("if True:\n    def encode(f, s, q): yield\n    def decode(p, s): yield", 0, "top level"),
    ],
)
def test_a_wrong_interface_is_explained(source: str, line: int, part: str) -> None:
    findings = [
        f for f in review_source(source, default_policy()).findings if f.rule == "interface"
    ]
    assert any(finding.line == line and part in finding.message for finding in findings)


@pytest.mark.parametrize(
    "source",
    [
        CODEC,
        "def encode(f, s, q=3, *rest): return iter(())\ndef decode(*all): yield from all[0]",
        "def compress_video_frame(f, i, c): return b''\n"
        "def decompress_video_frame(d, i, c): return d",
    ],
)
def test_every_legal_interface_is_accepted(source: str) -> None:
    assert review_source(source, default_policy()).accepted


@pytest.mark.parametrize(
    "source", ["def f(:", "x = (" * 300, "\0", "x = " + "-" * 20_000 + "1", "def f():\nreturn 1"]
)
def test_what_does_not_parse_is_one_syntax_finding(source: str) -> None:
    findings = review_source(source, default_policy()).findings
    assert [finding.rule for finding in findings] == ["syntax"]


def test_a_syntax_error_names_its_line() -> None:
    assert review_source("x = 1\ny = = 2\n", default_policy()).findings[0].line == 2


def test_a_program_over_the_size_limit_is_refused_unread() -> None:
    policy = default_policy(max_program_bytes=100)
    assert review_source("x" * 101, policy).findings[0].rule == "size"
    assert "101" in review_source("x" * 101, policy).findings[0].message


def test_findings_carry_the_line_and_an_advice() -> None:
    review = review_source("import cv2\n\nx = cv2.imencode('.jpg', 0)\n" + CODEC, default_policy())
    assert [finding.line for finding in review.findings] == [3]
    assert "entropy-code yourself" in review.findings[0].message


def test_library_codecs_can_be_allowed_and_nothing_else_with_them() -> None:
    policy = default_policy(allow_library_codecs=True)
    assert rules_broken("import cv2\ncv2.imencode('.jpg', 0)", policy) == set()
    assert rules_broken("import cv2\ncv2.os", policy) == {"host_module"}


def test_the_allowed_imports_are_the_policys() -> None:
    policy = default_policy(allowed_imports=DEFAULT_IMPORTS - {"numpy"})
    assert rules_broken("import numpy", policy) == {"import"}
    assert (
        rules_broken("import colorsys", default_policy(allowed_imports=frozenset({"colorsys"})))
        == set()
    )


def test_a_flood_of_findings_is_cut() -> None:
    assert len(review_source("eval\n" * 500 + CODEC, default_policy()).findings) == 50
