"""Differences of any two texts are right, and cheap however many of their lines are alike."""

import difflib
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from evocodec import line_diff
from evocodec.app.programs import built_in
from evocodec.line_diff import unified_diff

LINES = st.lists(st.sampled_from("abcdef"), max_size=30)
HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


def patched(before: list[str], diff: list[str]) -> list[str]:
    """Apply a unified difference, as ``patch`` does."""
    result: list[str] = []
    read = 0
    for line in diff[2:]:
        hunk = HUNK.fullmatch(line)
        if hunk is not None:
            start = int(hunk[1]) - (hunk[2] != "0")
            result += before[read:start]
            read = start
            assert len(result) == int(hunk[3]) - (hunk[4] != "0")
            continue
        if line[0] in " -":
            assert before[read] == line[1:]
            read += 1
        if line[0] in " +":
            result.append(line[1:])
    return result + before[read:]


@given(LINES, LINES, st.integers(0, 4))
def test_a_difference_makes_the_second_text_of_the_first(
    before: list[str], after: list[str], context: int
) -> None:
    diff = unified_diff(
        "\n".join(before),
        "\n".join(after),
        from_label="a",
        to_label="b",
        context_lines=context,
    )
    assert bool(diff) == (before != after)
    assert patched(before, diff) == after


def test_a_difference_of_two_like_programs_is_that_of_difflib() -> None:
    before = built_in("inter")
    after = before.replace("return", "yield", 3).replace("import numpy", "import  numpy")
    expected = difflib.unified_diff(before.splitlines(), after.splitlines(), "a", "b", lineterm="")
    assert unified_diff(before, after, from_label="a", to_label="b") == list(expected)


def test_beyond_its_budget_a_difference_is_longer_and_still_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, after = list("abab" * 20 + "x"), list("baab" * 20 + "y")
    texts = "\n".join(before), "\n".join(after)
    short = unified_diff(*texts, from_label="a", to_label="b")
    monkeypatch.setattr(line_diff, "MOST_STEPS", 100)
    long = unified_diff(*texts, from_label="a", to_label="b")
    assert patched(before, long) == after
    assert len(long) > len(short)


def test_many_lines_that_are_alike_do_not_take_for_ever() -> None:
    # difflib takes minutes for a tenth of it.
    before = "".join(f"# {number % 101}\n" for number in range(50_000))
    after = "".join(f"# {number * 7 % 101}\n" for number in range(50_000))
    assert unified_diff(before, after, from_label="a", to_label="b")
