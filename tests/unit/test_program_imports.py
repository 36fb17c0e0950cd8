"""What a program imports, as found in its compiled code."""

import sys
from collections.abc import Iterator

import pytest

from evocodec.guest.import_filter import ClosedImports
from evocodec.guest.program_imports import find, load


def found(source: str) -> dict[str, list[str]]:
    return find(compile(source, "candidate.py", "exec")).modules


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import numpy", {"numpy": []}),
        ("import numpy as np, scipy.signal as s", {"numpy": [], "scipy.signal": []}),
        ("from scipy import fft, ndimage as n", {"scipy": ["fft", "ndimage"]}),
        ("from math import *", {"math": []}),
        ("def f():\n    def g():\n        import zlib", {"zlib": []}),
        ("class A:\n    import zlib\n    f = lambda self: __import__('bz2')", {"zlib": []}),
        ("try:\n    import a.b\nexcept ImportError:\n    import c", {"a.b": [], "c": []}),
        ("if 0: import never\nimport numpy", {"numpy": []}),
        ("async def f():\n    async with x:\n        from a import b", {"a": ["b"]}),
        (";".join(f"import m{i}" for i in range(700)), {f"m{i}": [] for i in range(700)}),
    ],
)
def test_imports_count_wherever_they_stand(source: str, modules: dict[str, list[str]]) -> None:
    assert found(source) == modules


@pytest.fixture
def _as_before() -> Iterator[None]:
    known = dict(sys.modules)
    yield
    for name in sys.modules.keys() - known.keys():
        del sys.modules[name]


def loaded(source: str) -> ClosedImports:
    return load(compile(source, "candidate.py", "exec"), source)


@pytest.mark.usefixtures("_as_before")
def test_parts_that_load_when_used_are_loaded_under_whatever_name_they_are_used() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        del sys.modules[name]
    source = "import scipy as s\ndef f():\n    t = s\n    return t.sparse.csgraph, s.cluster"
    loaded(source)
    assert {"scipy.sparse.csgraph", "scipy.cluster"} <= sys.modules.keys()
    assert "scipy.stats" not in sys.modules


@pytest.mark.usefixtures("_as_before")
def test_encodings_that_are_written_out_are_loaded() -> None:
    for name in ("encodings.cp775", "encodings.cp857", "encodings.cp860"):
        sys.modules.pop(name, None)
    source = (
        "'a'.encode('cp775'); bytes('b', 'cp857'); b''.decode(encoding='cp860'); ''.encode('?')"
    )
    loaded(source)
    assert {"encodings.cp775", "encodings.cp857", "encodings.cp860"} <= sys.modules.keys()


def test_what_cannot_be_loaded_fails_again_in_the_same_way() -> None:
    closed = loaded("import a_library_that_is_nowhere.part")
    with pytest.raises(ModuleNotFoundError, match="No module named 'a_library_that_is_nowhere'"):
        closed.find_spec("a_library_that_is_nowhere", None)


def test_what_was_not_named_is_refused_and_told_what_to_write() -> None:
    closed = loaded("import math")
    with pytest.raises(ModuleNotFoundError, match="write `import zipfile` at its top"):
        closed.find_spec("zipfile", None)
    closed.find_spec("_imp", None)  # a part of the interpreter
