"""Untrusted text is made harmless, and numbers keep their meaning."""

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
    assert " ".join(text.clean(raw).split()) == seen


def test_newlines_stay_only_where_lines_are_asked_for() -> None:
    assert text.clean("a\r\nb\n", lines=True) == "a\nb\n"
    assert "\n" not in text.clean("a\nb")


def test_an_unfinished_sequence_cannot_swallow_what_follows_on_the_next_line() -> None:
    assert "\x1b" not in text.clean("\x1b]0;never ended\nnext", lines=True)
    assert text.clean("\x1b]0;never ended\nnext", lines=True).endswith("next")


def test_a_fence_marks_every_line_and_says_how_many_it_left_out() -> None:
    fenced = text.fence("\n".join(f"line {i}" for i in range(50)), limit=3)
    lines = fenced.split("\n")
    assert all(line.startswith("│ ") for line in lines)
    assert lines[0] == "│ … 47 lines left out"
    assert lines[-1] == "│ line 49"


@pytest.mark.parametrize("width", [1, 5, 20, 80])
def test_a_shortened_line_never_exceeds_its_width(width: int) -> None:
    assert len(text.shorten("a hypothesis that is much too long for its cell", width)) <= width


def test_numbers_that_do_not_exist_are_dashes() -> None:
    nothing = text.DASH
    assert text.number(None) == nothing
    assert text.number(float("nan")) == nothing
    assert text.percent(float("inf")) == nothing
    assert text.duration(None) == nothing


def test_differences_have_a_sign_and_zero_is_never_negative() -> None:
    assert text.percent(12.34) == "+12.3 %"
    assert text.percent(-12.34) == "−12.3 %"
    assert text.percent(-0.001) == "+0.0 %"


def test_hevc_is_ten_so_nine_is_ten_per_cent_less() -> None:
    assert text.versus_hevc(9.0) == pytest.approx(-10.0)
    assert text.versus_hevc(10.0) == 0.0
    assert text.versus_hevc(None) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3723, "1:02:03")]
)
def test_durations_read_as_minutes_and_seconds(seconds: float, words: str) -> None:
    assert text.duration(seconds) == words


def test_amounts_and_money_and_sizes_fit_their_cells() -> None:
    assert [text.amount(n) for n in (950, 12_345, 4_560_000)] == ["950", "12.3k", "4.56M"]
    assert [text.money(x) for x in (0.0, 0.0213, 1.5)] == ["$0.00", "$0.0213", "$1.50"]
    assert [text.size(x) for x in (512, 2048, 5 * 2**20)] == ["512 bytes", "2.0 KiB", "5.0 MiB"]


def test_a_sparkline_is_scaled_from_zero() -> None:
    assert text.sparkline([10, 5, 0]) == "█▅▁"
    assert text.sparkline([]) == ""
