"""Untrusted text is made harmless for a terminal."""

import pytest

from evocodec.cli.render import text


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0;1\x1b\\sixel", "sixel"),
        ("\x9b2Jcleared", "cleared"),
        ("a\x1b", "a"),
        ("cut\x1b[", "cut"),
        ("over\rwritten", "over written"),
        ("bell\x07 back\x08space", "bell backspace"),
        ("left\u202eright\u2066x", "leftrightx"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("[bold]markup[/bold] :smile:", "[bold]markup[/bold] :smile:"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("漢字 – ümlaut", "漢字 – ümlaut"),
    ],
)
def test_control_is_removed_and_text_stays(raw: str, seen: str) -> None:
    assert " ".join(text.sanitize(raw).split()) == seen


def test_newlines_stay_only_where_lines_are_asked_for() -> None:
    assert text.sanitize("a\r\nb\n", lines=True) == "a\nb\n"
    assert "\n" not in text.sanitize("a\nb")


def test_an_unfinished_sequence_cannot_swallow_what_follows_on_the_next_line() -> None:
    assert "\x1b" not in text.sanitize("\x1b]0;never ended\nnext", lines=True)
    assert text.sanitize("\x1b]0;never ended\nnext", lines=True).endswith("next")


def test_a_quoted_block_marks_every_line_and_says_how_many_it_left_out() -> None:
    quoted = text.quote_block("\n".join(f"line {i}" for i in range(50)), limit=3)
    lines = quoted.split("\n")
    assert all(line.startswith("│ ") for line in lines)
    assert lines[0] == "│ … 47 lines left out"
    assert lines[-1] == "│ line 49"


@pytest.mark.parametrize("width", [1, 5, 20, 80])
def test_a_shortened_line_never_exceeds_its_width(width: int) -> None:
    assert len(text.shorten("a hypothesis that is much too long for its cell", width)) <= width


def test_hevc_is_ten_so_nine_is_ten_per_cent_less() -> None:
    assert text.versus_hevc(9.0) == pytest.approx(-10.0)
    assert text.versus_hevc(10.0) == 0.0
    assert text.versus_hevc(None) is None


def test_a_sparkline_is_scaled_from_zero() -> None:
    assert text.sparkline([10, 5, 0]) == "█▅▁"
    assert text.sparkline([]) == ""
