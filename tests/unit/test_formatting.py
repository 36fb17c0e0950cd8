"""Numbers keep their meaning as text."""

import pytest

from evocodec import formatting
from evocodec.domain.errors import UserError


def test_numbers_that_do_not_exist_are_dashes() -> None:
    nothing = formatting.DASH
    assert formatting.number(None) == nothing
    assert formatting.number(float("nan")) == nothing
    assert formatting.percent(float("inf")) == nothing
    assert formatting.duration(None) == nothing


def test_differences_have_a_sign_and_zero_is_never_negative() -> None:
    assert formatting.percent(12.34) == "+12.3 %"
    assert formatting.percent(-12.34) == "−12.3 %"
    assert formatting.percent(-0.001) == "+0.0 %"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3723, "1:02:03")]
)
def test_durations_read_as_minutes_and_seconds(seconds: float, words: str) -> None:
    assert formatting.duration(seconds) == words


def test_amounts_and_money_and_sizes_fit_their_cells() -> None:
    assert [formatting.amount(n) for n in (950, 12_345, 4_560_000)] == ["950", "12.3k", "4.56M"]
    assert [formatting.money(x) for x in (0.0, 0.0213, 1.5)] == ["$0.00", "$0.0213", "$1.50"]
    assert [formatting.size(x) for x in (512, 2048, 5 * 2**20)] == [
        "512 bytes",
        "2.0 KiB",
        "5.0 MiB",
    ]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1234", 1234),
        ("1KB", 1000),
        ("1.5 KiB", 1536),
        ("8gib", 8 << 30),
        ("2M", 2_000_000),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, count: int) -> None:
    assert formatting.parse_size(text) == count


@pytest.mark.parametrize("text", ["", "-1", "lots", "1e9", "1 PB", "٣", "9" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no size"):
        formatting.parse_size(text)
