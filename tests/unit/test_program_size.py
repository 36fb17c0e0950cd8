"""Program bytes as they are counted."""

from pathlib import Path

import numpy as np
import pytest

from evocodec.codec.program import derive_facts


def packed(text: str) -> int:
    return derive_facts(text).packed_bytes


PROGRAM = "def f(x):\n    return x + 1\n"


def test_words_for_people_cost_nothing() -> None:
    told = (
        '"""A long story of what this does."""\n\n# and why\ndef f(x):\n'
        '    """Return the next one."""\n    return x+1   # not two\n'
    )
    assert packed(told) == packed(PROGRAM)


def test_weights_in_the_text_are_paid_for() -> None:
    weights = np.random.default_rng(1).bytes(4096)
    assert packed(f"{PROGRAM}W = {weights!r}\n") > packed(PROGRAM) + 4000


def test_a_docstring_that_is_the_whole_body_leaves_a_program() -> None:
    assert packed('class A:\n    """Nothing else."""\n') > 0


@pytest.mark.parametrize("text", ["def (", "a\0b", ""])
def test_what_does_not_parse_is_packed_as_it_is(text: str) -> None:
    assert packed(text) > 0


def test_it_is_the_same_every_time() -> None:
    source = Path(__file__).read_text()
    assert packed(source) == packed(source)
