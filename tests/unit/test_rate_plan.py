"""The plan of rates: what it asks for next, and why it gives up."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from evocodec.curves.bd_rate import quality_overlap
from evocodec.curves.rd_curve import make_curve
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import Quality, RatePoint, RdCurve
from evocodec.evaluation.rate_plan import FIRST_QPS, initial_qps, next_qps

OPERATING_DB = 38.0


def point(qp: float, psnr_y_db: float, bits: int) -> RatePoint:
    quality = Quality(psnr_y_db, psnr_y_db, psnr_y_db, psnr_y_db, None, psnr_y_db)
    return RatePoint("clip", qp, bits, 8, quality)


def codec(qp: float, *, best_db: float = 50.0, db_per_qp: float = 0.5) -> RatePoint:
    psnr = best_db - db_per_qp * qp
    return point(qp, psnr, round(1e6 * 2 ** ((psnr - 40) / 3)))


ANCHOR: RdCurve = make_curve("x265-medium", "clip", [codec(qp) for qp in (12, 16, 20, 28, 32, 36)])
"""From 32 to 44 dB."""


def measure(qps: Sequence[float], codec: Callable[[float], RatePoint] = codec) -> list[RatePoint]:
    return [codec(qp) for qp in qps]


def run(codec: Callable[[float], RatePoint], max_points: int = 8) -> list[RatePoint]:
    measured: list[RatePoint] = []
    wanted = initial_qps(ANCHOR, OPERATING_DB)
    while wanted:
        measured += measure(wanted, codec)
        wanted = next_qps(ANCHOR, measured, OPERATING_DB, max_points=max_points)
    return measured


def refusal(codec: Callable[[float], RatePoint]) -> str:
    with pytest.raises(CandidateFailure) as failure:
        run(codec)
    assert failure.value.kind is FailureKind.QUALITY
    return failure.value.message


def test_two_rates_feel_the_way_where_nothing_is_known() -> None:
    assert initial_qps(ANCHOR, OPERATING_DB) == FIRST_QPS
    assert initial_qps(ANCHOR, OPERATING_DB, measure([30.0])) == FIRST_QPS


def test_a_usual_codec_needs_four_points_in_two_rounds() -> None:
    first = measure(FIRST_QPS)
    second = next_qps(ANCHOR, first, OPERATING_DB, max_points=8)
    assert len(second) == 2
    assert next_qps(ANCHOR, [*first, *measure(second)], OPERATING_DB, max_points=8) == ()


def test_a_relatives_curve_places_four_rates_that_are_enough() -> None:
    wanted = initial_qps(ANCHOR, OPERATING_DB, measure([10, 14, 18, 22, 26, 30, 34, 38]))
    assert len(wanted) == 4
    qualities = [codec(qp).quality.psnr_y_db for qp in wanted]
    assert min(abs(quality - OPERATING_DB) for quality in qualities) <= 0.25  # half a qp
    better = measure(wanted, lambda qp: codec(qp, best_db=50.7))
    assert next_qps(ANCHOR, better, OPERATING_DB, max_points=8) == ()


@pytest.mark.parametrize("operating_db", [32.3, 43.7])
def test_an_operating_quality_near_an_end_still_gets_four_rates(operating_db: float) -> None:
    wanted = initial_qps(ANCHOR, operating_db, measure([10, 20, 30, 40]))
    assert len(wanted) == 4
    assert next_qps(ANCHOR, measure(wanted), operating_db, max_points=8) == ()


def test_a_relative_that_does_not_reach_the_range_is_continued_straight() -> None:
    wanted = initial_qps(ANCHOR, OPERATING_DB, measure([20, 24]))
    assert next_qps(ANCHOR, measure(wanted), OPERATING_DB, max_points=8) == ()


def test_a_relative_that_is_no_guide_is_not_followed() -> None:
    flat = [point(qp, 60.0, 1000) for qp in (10, 20, 30)]
    assert initial_qps(ANCHOR, OPERATING_DB, flat) == FIRST_QPS


def test_nothing_measured_asks_for_the_first_two() -> None:
    assert next_qps(ANCHOR, [], OPERATING_DB, max_points=8) == FIRST_QPS
    assert next_qps(ANCHOR, measure([24.0]), OPERATING_DB, max_points=8) == (38.0,)


def test_a_low_curve_is_continued_upwards() -> None:
    wanted = next_qps(ANCHOR, measure([28, 32, 36, 40]), OPERATING_DB, max_points=8)
    assert len(wanted) == 1
    assert 42.0 <= codec(wanted[0]).quality.psnr_y_db <= 42.5


def test_a_high_curve_is_continued_downwards() -> None:
    wanted = next_qps(ANCHOR, measure([4, 8, 12, 16]), OPERATING_DB, max_points=8)
    assert wanted == (16 + 16.0,)
    assert next_qps(ANCHOR, measure([4, 8, 12, 16, 32]), OPERATING_DB, max_points=8) == (24.0,)


@pytest.mark.parametrize(("qps", "operating_db"), [((20, 26, 32, 38), 41), ((10, 16, 22, 28), 35)])
def test_the_operating_quality_must_lie_between_points(
    qps: tuple[int, ...], operating_db: float
) -> None:
    measured = measure(qps)
    covered = make_curve("candidate", "clip", measured)
    assert quality_overlap(ANCHOR, covered) >= 0.6
    (wanted,) = next_qps(ANCHOR, measured, operating_db, max_points=8)
    reached = sorted(codec(qp).quality.psnr_y_db for qp in (*qps, wanted))
    assert reached[0] < operating_db < reached[-1]


def test_too_few_points_are_filled_between() -> None:
    wanted = next_qps(ANCHOR, measure([10, 40]), OPERATING_DB, max_points=8)
    assert len(wanted) == 2
    qualities = [codec(qp).quality.psnr_y_db for qp in (10, *wanted, 40)]
    gaps = [before - after for before, after in pairwise(sorted(qualities, reverse=True))]
    assert max(gaps) <= 0.6 * (44 - 32)


def test_a_wide_gap_inside_the_range_is_filled_before_it_is_trusted() -> None:
    wanted = next_qps(ANCHOR, measure([8, 10, 12, 34, 36]), OPERATING_DB, max_points=8)
    assert wanted == (23.0,)


def test_a_gap_is_tolerated_when_no_point_is_left() -> None:
    assert next_qps(ANCHOR, measure([8, 10, 12, 34, 36]), OPERATING_DB, max_points=5) == ()


def test_a_codec_far_from_the_range_is_found() -> None:
    points = run(lambda qp: codec(qp, best_db=75.0, db_per_qp=0.7))
    values = [p.quality.psnr_y_db for p in points]
    assert min(values) < OPERATING_DB < max(values)


def test_a_qp_without_effect_is_told_apart() -> None:
    assert "qp has no effect" in refusal(lambda qp: point(qp, 38.0, 1000))


def test_a_qp_that_works_backwards_is_told_apart() -> None:
    message = refusal(lambda qp: point(qp, 30 + 0.2 * qp, 1000 + round(50 * qp)))
    assert "qp works backwards" in message


def test_a_curve_that_is_not_monotonic_is_refused() -> None:
    message = refusal(lambda qp: point(qp, 50 - 0.5 * qp, round(1000 + qp)))
    assert "not monotonic" in message


def test_a_codec_that_cannot_reach_the_quality_is_told_its_best() -> None:
    message = refusal(lambda qp: codec(qp, best_db=36.0, db_per_qp=0.25))
    assert "qp 0, the end of the scale, gives 36.00 dB" in message
    assert "32.00 to 44.00 dB" in message


def test_a_codec_that_cannot_get_coarse_enough_is_told_so() -> None:
    assert "qp 63" in refusal(lambda qp: codec(qp, best_db=60.0, db_per_qp=0.25))


def test_a_codec_that_saturates_short_of_the_range_is_told_its_best() -> None:
    message = refusal(lambda qp: replace(codec(max(qp, 22)), qp=qp))
    assert "qp 0, the end of the scale, gives 39.00 dB" in message


def test_a_codec_that_saturates_where_it_does_not_matter_is_fine() -> None:
    saturating = run(lambda qp: replace(codec(max(qp, 14)), qp=qp))
    assert len(saturating) == 4


def test_the_number_of_points_is_limited() -> None:
    with pytest.raises(CandidateFailure, match="4 rate points were not enough"):
        run(lambda qp: codec(qp, best_db=75.0, db_per_qp=0.7), max_points=4)
