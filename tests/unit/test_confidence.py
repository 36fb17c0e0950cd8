"""Intervals over clips: exact for few, the same every time, and honest about small numbers."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from evocodec.curves.confidence import (
    gain_interval,
    geometric_interval,
    mean_interval,
    student_quantile,
)


def test_one_clip_has_no_interval() -> None:
    assert mean_interval([3.0], 0.9) is None
    assert mean_interval([], 0.9) is None
    assert geometric_interval([0.8], 0.9) is None


@pytest.mark.parametrize("values", [[1.0, 2.0], [5.0, 1.0, 2.5]])
def test_two_or_three_clips_span_from_the_worst_to_the_best(values: list[float]) -> None:
    interval = mean_interval(values, 0.9)
    assert interval is not None
    assert (interval.low, interval.high) == (min(values), max(values))
    assert (interval.level, interval.clips) == (0.9, len(values))


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_few_clips_agree_with_every_resample_counted_one_by_one(level: float) -> None:
    values = [0.3, -1.2, 2.0, 0.9, 4.4]
    means = sorted(math.fsum(drawn) / 5 for drawn in itertools.product(values, repeat=5))
    tail = stats.norm.cdf(-math.sqrt(5 / 4) * stats.t.ppf((1 + level) / 2, 4))
    cut = math.floor(tail * len(means))
    interval = mean_interval(values, level)
    assert interval is not None
    assert interval.low == pytest.approx(means[cut])
    assert interval.high == pytest.approx(means[-1 - cut])


def test_many_clips_come_near_students_interval() -> None:
    values = np.random.default_rng(5).normal(2.0, 1.0, 40)
    low, high = stats.t.interval(0.9, 39, values.mean(), values.std(ddof=1) / math.sqrt(40))
    interval = mean_interval(list(values), 0.9)
    assert interval is not None
    assert interval.low == pytest.approx(low, abs=0.03)
    assert interval.high == pytest.approx(high, abs=0.03)


def test_the_same_clips_in_any_order_give_the_same_interval() -> None:
    values = list(np.random.default_rng(6).normal(0.0, 1.0, 12))
    assert mean_interval(values, 0.9) == mean_interval(values[::-1], 0.9)


def test_a_higher_level_is_never_narrower() -> None:
    values = [0.1, 0.5, -0.4, 0.8, 0.2, 0.3, -0.1]
    widths = []
    for level in (0.6, 0.8, 0.9, 0.99):
        interval = mean_interval(values, level)
        assert interval is not None
        widths.append(interval.high - interval.low)
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


def test_clips_that_agree_leave_no_doubt() -> None:
    interval = mean_interval([0.25] * 4, 0.9)
    assert interval is not None
    assert interval.low == interval.high == 0.25


def test_ratios_are_joined_by_their_logarithms() -> None:
    interval = geometric_interval([0.5, 2.0], 0.9)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((0.5, 2.0))


def test_a_gain_is_taken_clip_by_clip_and_its_low_end_is_the_worse() -> None:
    champion = {"easy": 1000.0, "hard": 90000.0, "middle": 20000.0}
    ours = {"easy": 900.0, "hard": 63000.0, "middle": 18400.0}
    interval = gain_interval(ours, champion, 0.9)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((8.0, 30.0))


def test_a_gain_needs_the_same_clips_on_both_sides() -> None:
    with pytest.raises(ValueError, match="clips differ"):
        gain_interval({"a": 1.0, "b": 1.0}, {"a": 1.0}, 0.9)


@pytest.mark.parametrize(("values", "level"), [([1.0, math.nan], 0.9), ([1.0, 2.0], 1.0)])
def test_what_is_no_number_or_no_level_is_refused(values: list[float], level: float) -> None:
    with pytest.raises(ValueError, match=r"interval|level"):
        mean_interval(values, level)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 10, 39, 200])
def test_students_quantile_is_that_of_the_tables(df: int) -> None:
    for level in (0.6, 0.9, 0.95, 0.999):
        expected = stats.t.ppf((1 + level) / 2, df)
        assert student_quantile(level, df) == pytest.approx(expected, rel=1e-8)
