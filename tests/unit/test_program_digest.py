"""What counts as the same program, by its digests."""

import pytest

from evocodec.codec.program import derive_facts
from tests.support.alike_programs import OTHER, PROGRAM, SAME


def normalised_digest(text: str) -> str:
    return derive_facts(text).digest


@pytest.mark.parametrize("change", SAME)
def test_what_does_not_change_the_program_does_not_matter(change: str) -> None:
    assert SAME[change] != PROGRAM
    assert normalised_digest(SAME[change]) == normalised_digest(PROGRAM)


@pytest.mark.parametrize("change", OTHER)
def test_what_changes_the_program_matters(change: str) -> None:
    assert OTHER[change] != PROGRAM
    assert normalised_digest(OTHER[change]) != normalised_digest(PROGRAM)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(x):\n  return lambda p: p", "def f(x):\n  return lambda p: x"),
        ("if t:\n  a()\n  b()", "if t:\n  a()\nelse:\n  b()"),
        ("def f(y, u): return a.y", "def f(u, y): return a.u"),
        ("def f(a=a, b=b): return a - b", "def f(b=b, a=a): return b - a"),
        ("f(x=1)", "f(y=1)"),
        ("def f():\n  global q\n  q = 1", "def f():\n  global r\n  r = 1"),
        ("def f(a, b): return a", "def f(a, b): return b"),
        ("lambda a, b: a", "lambda a, b: b"),
        ("[a for a in x for b in y]", "[b for a in x for b in y]"),
        ("x[1:2]", "x[1:][:2]"),
        ("f(1, *a)", "f(*a, 1)"),
        ("x = '1'", "x = 1"),
    ],
)  # fmt: skip
def test_programs_that_do_different_things_are_told_apart(one: str, other: str) -> None:
    assert normalised_digest(one) != normalised_digest(other)


def test_texts_that_do_not_parse_are_compared_as_they_are() -> None:
    assert normalised_digest("def f(:") == normalised_digest("def f(:")
    assert normalised_digest("def f(:") != normalised_digest("def g(:")


def test_the_near_digest_rounds_floats_and_the_exact_one_does_not() -> None:
    one, other = derive_facts("STEP = 8.0012\n"), derive_facts("STEP = 8.0011\n")
    assert one.near_digest == other.near_digest
    assert one.digest != other.digest


def test_deriving_facts_leaves_the_tree_as_it_was() -> None:
    import ast

    from evocodec.codec.program import Program

    program = Program(
        'class A:\n    """Only words."""\n\n\ndef f(x: int) -> int:\n    """Words."""\n    pass\n'
    )
    before = ast.dump(program.tree)
    assert program.facts.packed_bytes > 0
    assert ast.dump(program.tree) == before
