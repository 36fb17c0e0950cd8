"""Which programs may call native code through ctypes: those that import what needs it."""

import pytest

from evocodec.guest.native_calls import needed_by
from evocodec.sandbox.allowed_paths import native_libraries
from evocodec.sandbox.policy import DEFAULT_IMPORTS


@pytest.mark.parametrize(
    "program",
    ["import numba", "import numpy as np, numba as nb", "from numba import njit",
     "import numba.typed", "def f():\n    import numba"],
)  # fmt: skip
def test_an_import_counts_wherever_it_stands(program: str) -> None:
    assert needed_by(program, ["numba", "torch"])


@pytest.mark.parametrize(
    "program",
    ["import numpy", "# import numba", "text = 'import numba'", "numba = 1", "import numbat",
     "from . import numba", "def (", "x\0", "(" * 5000],
)  # fmt: skip
def test_nothing_else_does_and_a_broken_program_needs_nothing(program: str) -> None:
    assert not needed_by(program, ["numba", "torch"])


def test_only_what_the_policy_allows_and_what_is_known_to_do_without_decides() -> None:
    assert native_libraries(DEFAULT_IMPORTS) == ("numba", "scipy", "torch", "torchvision")
    assert native_libraries({"numpy", "cv2", "math", "evocodec.codec.contract"}) == ()
    assert native_libraries({"numpy", "somebodys.library", "ctypes"}) == ("ctypes", "somebodys")
