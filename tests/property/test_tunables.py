"""Marks of any program: editing there and back is the identity, and touches nothing else."""

import ast
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from evocodec.codec.program import Program
from evocodec.codec.tunables import TunableError

names = st.from_regex(r"[A-Z][A-Z_]{0,8}", fullmatch=True)
literals = st.one_of(
    st.integers(-99, 99),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=8),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
).map(repr)
descriptions = st.sampled_from(["", " -- fractions of a sample", " -- it's | (odd"])


@st.composite
def programs(draw: st.DrawFn) -> tuple[str, list[tuple[str, list[str]]]]:
    tunables = []
    lines = []
    for name in draw(st.lists(names, min_size=1, max_size=5, unique=True)):
        choices = draw(st.lists(literals, min_size=2, max_size=4, unique=True))
        about = draw(descriptions)
        lines.append(f"{name} = {choices[0]}  # evolve: choice {' | '.join(choices)}{about}")
        lines.append(draw(st.sampled_from(["", "# a comment", "def f():\n    return 1"])))
        tunables.append((name, choices))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return end.join(lines).replace("\n", end).replace("\r\r", "\r") + end, tunables


@given(programs(), st.data())
def test_editing_there_and_back_restores_every_byte(
    generated: tuple[str, list[tuple[str, list[str]]]], data: st.DataObject
) -> None:
    program, tunables = generated
    there = [(name, data.draw(st.sampled_from(choices))) for name, choices in tunables]
    edited = Program(program).edited(there)
    assert dict(edited.facts.tunables) == {
        name: repr(ast.literal_eval(value)) for name, value in there
    }
    assert [mark.choices for mark in edited.tunables] == [tuple(c) for _, c in tunables]
    assert edited.edited([(name, choices[0]) for name, choices in tunables]).text == program


@given(st.text(max_size=200))
def test_any_text_has_marks_or_a_mark_error(text: str) -> None:
    with suppress(TunableError):
        assert all(mark.accepts(mark.value) for mark in Program(text).tunables)


@given(st.text(max_size=60))
def test_any_comment_after_evolve_is_a_mark_or_a_mark_error(body: str) -> None:
    line = body.replace("\n", " ").replace("\r", " ").replace("\x0c", " ").replace("\x00", " ")
    with suppress(TunableError):
        (mark,) = Program(f"A = 1  # evolve: {line}\n").tunables
        assert mark.accepts("1")
