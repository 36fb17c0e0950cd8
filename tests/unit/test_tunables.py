"""Marked constants: found with their kinds, edited in place, refused with the line."""

import re

import pytest

from evocodec.codec.program import Program, derive_facts
from evocodec.codec.tunables import TunableError

PROGRAM = '''"""A program."""

NAME = "dct8"  # evolve: choice "dct8" | 'adaptive' -- transform; it's the residual's
SIZES = (8, 16)  # evolve: choice (8, 16) | (8, 16, 32)
LAMBDA: float = 0.33  # evolve: float 0.10..0.50
LAYERS = 3  # evolve: int 1..5 -- depth of the hierarchy
OFFSET = -1.5e-1  # evolve: float -1..1
PLAIN = 4  # an ordinary comment
MODE = fast  # evolve: choice fast | slow


def encode(x):
    return "# evolve: int 1..2"
'''


def test_marks_are_found_in_the_order_of_the_program() -> None:
    tunables = Program(PROGRAM).tunables
    assert [mark.name for mark in tunables] == [
        "NAME",
        "SIZES",
        "LAMBDA",
        "LAYERS",
        "OFFSET",
        "MODE",
    ]
    assert [mark.kind for mark in tunables] == [
        "choice",
        "choice",
        "float",
        "int",
        "float",
        "choice",
    ]
    name, sizes, lam, layers, offset, _ = tunables
    assert name.choices == ('"dct8"', "'adaptive'")
    assert name.description == "transform; it's the residual's"
    assert sizes.choices == ("(8, 16)", "(8, 16, 32)")
    assert (lam.low, lam.high, lam.value) == (0.1, 0.5, "0.33")
    assert layers.description == "depth of the hierarchy"
    assert offset.value == "-1.5e-1"
    assert layers.line == 6


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("A = 1  # evolve: int 1..8\nS = '# evolve: int 1..8'", ["A"]),
        ('A = 1  # evolve: int 1..8\nS = """\nB = 1  # evolve: int 1..8\n"""', ["A"]),
        ("A = 1  # evolve: int 1..8\nB = (2)  # evolve: int 1..8", ["A", "B"]),
        ("A = 1; B = 2  # evolve: int 1..8", ["B"]),
        ("A = 1  # see # evolve: int 1..8", []),
        ("S = 'ä€'; A = 1\t#evolve:int 1..8\r\nB = 2  # evolve: int 1..8\r", ["A", "B"]),
    ],
)
def test_only_a_comment_right_after_its_assignment_is_a_mark(text: str, marked: list[str]) -> None:
    assert [tunable.name for tunable in Program(text + "\n").tunables] == marked


def test_editing_changes_the_expressions_and_nothing_else() -> None:
    edited = Program(PROGRAM).edited(
        [("NAME", '"adaptive"'), ("LAMBDA", "0.4"), ("SIZES", "(8,16,32)")]
    )
    expected = (
        PROGRAM.replace('NAME = "dct8"', "NAME = 'adaptive'")
        .replace("float = 0.33", "float = 0.4")
        .replace("SIZES = (8, 16)  #", "SIZES = (8, 16, 32)  #")
    )
    assert edited.text == expected


def test_other_line_ends_and_letters_outside_ascii_survive() -> None:
    program = 'é = "ü"  # evolve: choice "ü" | "ö"\r\nB = 1  # evolve: int 0..2\r\n'
    assert Program(program).edited([("é", '"ö"'), ("B", "2")]).text == (
        'é = "ö"  # evolve: choice "ü" | "ö"\r\nB = 2  # evolve: int 0..2\r\n'
    )


def test_a_bar_or_dashes_inside_quotes_do_not_split() -> None:
    program = 'A = "a | b"  # evolve: choice "a | b" | "c -- d" | "e" -- text\n'
    (mark,) = Program(program).tunables
    assert mark.choices == ('"a | b"', '"c -- d"', '"e"')
    assert mark.description == "text"


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([("NOPE", "1")], "no tunable named NOPE; its tunables are: NAME, SIZES"),
        ([("PLAIN", "5")], "no tunable named PLAIN"),
        ([("NAME", '"other"')], 'NAME = "other" is not allowed; allowed: "dct8" | \'adaptive\''),
        ([("LAMBDA", "0.51")], "allowed: float 0.1..0.5"),
        ([("LAMBDA", "nan")], "not allowed"),
        ([("LAMBDA", "__import__('os')")], "not allowed"),
        ([("LAMBDA", "0.2\nimport os")], "not allowed"),
        ([("LAYERS", "2.5")], "allowed: int 1..5"),
        ([("LAYERS", "True")], "not allowed"),
        ([("LAYERS", "1"), ("LAYERS", "2")], "edited twice"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(edits: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(TunableError, match=re.escape(message)):
        Program(PROGRAM).edited(edits)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("A = 1  # evolve: coice 1 | 2", "unknown kind 'coice' of tunable"),
        ("A = 1  # evolve: choice 1", "two or more"),
        ("A = 1  # evolve: choice 1 | f(x)", "literals or names"),
        ("A = 3  # evolve: choice 1 | 2", "outside its range"),
        ("A = 1  # evolve: int 5..2", "is empty"),
        ("A = 1  # evolve: int", "needs a range"),
        ("A = 9  # evolve: int 1..8", "outside its range"),
        ("A = 1.0  # evolve: int 1..8", "outside its range"),
        ("A = B = 1  # evolve: int 1..8", "must follow a module-level assignment"),
        ("A = (1,\n  2)  # evolve: choice (1, 2) | (3, 4)", "on one line"),
        ("def f():\n    A = 1  # evolve: int 1..8", "module-level"),
        ("# evolve: int 1..8", "must follow"),
        ("A = 1  # evolve: int 1..8\nA = 2  # evolve: int 1..8", "marked twice"),
        ("A = (  # evolve: int 1..8", "does not parse"),
    ],
)
def test_a_malformed_mark_is_refused(line: str, message: str) -> None:
    with pytest.raises(TunableError, match=re.escape(message)):
        _ = Program(line + "\n").tunables


def test_values_of_a_program_without_readable_marks_are_none() -> None:
    assert derive_facts("x = 1\n").tunables == ()
    assert derive_facts("x = (\n").tunables == ()
    assert dict(derive_facts(PROGRAM).tunables)["NAME"] == "'dct8'"
