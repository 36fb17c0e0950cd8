"""Curves are read between their points, and BD-rate is Bjøntegaard's."""

from collections.abc import Sequence

import bjontegaard
import numpy as np
import pytest

from evocodec.curves.bd_rate import bd_rate, quality_overlap
from evocodec.curves.rd_curve import (
    bits_at_quality,
    check_monotonic,
    log_rate_slope,
    make_curve,
    quality_at_bits,
)
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import Quality, RatePoint, RdCurve

ANCHOR = [(33512, 24.71), (59064, 27.24), (109256, 30.09), (194136, 32.92), (329064, 35.68)]
TEST = [(40100, 25.3), (70500, 28.2), (120900, 30.6), (230100, 33.9), (301000, 35.0)]


def point(bits: int, psnr_y_db: float, qp: float = 30.0) -> RatePoint:
    quality = Quality(psnr_y_db, psnr_y_db, psnr_y_db, psnr_y_db, None, psnr_y_db)
    return RatePoint("clip", qp, bits, 8, quality)


def curve(pairs: Sequence[tuple[int, float]], codec: str = "codec") -> RdCurve:
    return make_curve(codec, "clip", [point(*pair) for pair in pairs])


def failing_message(action: object, *arguments: object) -> str:
    with pytest.raises(CandidateFailure) as failure:
        action(*arguments)  # type: ignore[operator]
    assert failure.value.kind is FailureKind.QUALITY
    return failure.value.message


@pytest.mark.parametrize(
    ("method", "field"), [("akima", "akima_percent"), ("pchip", "pchip_percent")]
)
@pytest.mark.parametrize(
    ("anchor", "test"), [(ANCHOR, TEST), (TEST, ANCHOR), (ANCHOR[1:], TEST[:4])]
)
def test_bd_rate_equals_an_independent_implementation(
    method: str, field: str, anchor: list[tuple[int, float]], test: list[tuple[int, float]]
) -> None:
    theirs = bjontegaard.bd_rate(
        *(np.array(values, dtype=float) for values in zip(*anchor, strict=True)),
        *(np.array(values, dtype=float) for values in zip(*test, strict=True)),
        method=method,
        min_overlap=0,
    )
    ours = getattr(bd_rate(curve(anchor), curve(test)), field)
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_a_curve_against_itself_has_no_delta_and_full_overlap() -> None:
    result = bd_rate(curve(ANCHOR), curve(ANCHOR))
    assert (result.akima_percent, result.pchip_percent, result.overlap) == (0, 0, 1)


def test_half_the_bits_everywhere_is_minus_fifty_percent() -> None:
    halved = [(bits // 2, psnr) for bits, psnr in ANCHOR]
    result = bd_rate(curve(ANCHOR), curve(halved))
    assert result.akima_percent == pytest.approx(-50, abs=1e-9)
    assert result.pchip_percent == pytest.approx(-50, abs=1e-9)


def test_akima_and_pchip_may_disagree_and_both_are_kept() -> None:
    irregular = [(40000, 25.0), (60000, 25.4), (61000, 31.0), (200000, 31.4), (201000, 34.9)]
    result = bd_rate(curve(ANCHOR), curve(irregular))
    assert abs(result.akima_percent - result.pchip_percent) > 1


def test_overlap_is_the_share_of_the_anchors_range() -> None:
    anchor = curve([(100, 30.0), (200, 33.0), (300, 36.0), (400, 40.0)])
    assert quality_overlap(anchor, curve([(100, 20.0), (400, 36.0)])) == pytest.approx(0.6)
    assert quality_overlap(anchor, curve([(100, 34.0), (400, 35.0)])) == pytest.approx(0.1)
    assert quality_overlap(anchor, curve([(100, 20.0), (400, 50.0)])) == 1
    assert quality_overlap(anchor, curve([(100, 41.0), (400, 50.0)])) == 0


def test_curves_that_share_no_quality_are_not_compared() -> None:
    far = [(bits, psnr + 20) for bits, psnr in ANCHOR]
    message = failing_message(bd_rate, curve(ANCHOR), curve(far))
    assert "no quality is shared" in message
    assert "44.71 to 55.68 dB" in message


def test_bd_rate_needs_four_points() -> None:
    assert "3 rate points" in failing_message(bd_rate, curve(ANCHOR), curve(TEST[:3]))


@pytest.mark.parametrize(
    "pairs",
    [
        [(100, 30.0), (200, 29.0), (300, 31.0), (400, 32.0)],
        [(100, 30.0), (100, 31.0), (300, 32.0), (400, 33.0)],
        [(100, 30.0), (200, 30.0), (300, 31.0), (400, 32.0)],
    ],
    ids=["quality falls", "equal bits", "equal quality"],
)
def test_a_curve_that_does_not_rise_is_refused_with_its_points(
    pairs: list[tuple[int, float]],
) -> None:
    with pytest.raises(CandidateFailure, match="not monotonic") as failure:
        check_monotonic(curve(pairs))
    assert failure.value.kind is FailureKind.QUALITY
    assert failure.value.detail.count("\n") == 4
    failing_message(bd_rate, curve(ANCHOR), curve(pairs))
    failing_message(bits_at_quality, curve(pairs), 30.5)


def test_a_point_without_bits_is_refused() -> None:
    assert "no bits" in failing_message(check_monotonic, curve([(0, 30.0), (5, 31.0)]))


def test_a_curve_is_sorted_and_says_nothing_twice() -> None:
    made = make_curve(
        "c",
        "clip",
        [point(900, 100.0, 0), point(800, 100.0, 2), point(50, 30.0, 40), point(50, 30.0, 50)],
    )
    assert [(p.bits, p.quality.psnr_y_db) for p in made.points] == [(50, 30.0), (800, 100.0)]


def test_measured_points_are_met_exactly() -> None:
    for bits, psnr in ANCHOR:
        assert bits_at_quality(curve(ANCHOR), psnr) == pytest.approx(bits, rel=1e-12)
        assert quality_at_bits(curve(ANCHOR), bits) == pytest.approx(psnr, abs=1e-9)


def test_an_exponential_curve_is_interpolated_exactly() -> None:
    straight = curve([(1000 * 2**k, 30.0 + 3 * k) for k in range(5)])
    assert bits_at_quality(straight, 34.5) == pytest.approx(1000 * 2**1.5, rel=1e-12)
    assert log_rate_slope(straight, 34.5) == pytest.approx(np.log(2) / 3, rel=1e-9)
    assert log_rate_slope(straight, 99.0) == pytest.approx(np.log(2) / 3, rel=1e-9)


@pytest.mark.parametrize("psnr", [24.7, 35.7, 0.0, float("nan")])
def test_bits_are_never_extrapolated(psnr: float) -> None:
    message = failing_message(bits_at_quality, curve(ANCHOR), psnr)
    assert "24.71 to 35.68 dB" in message
    assert "never extrapolated" in message


@pytest.mark.parametrize("bits", [33511.0, 329065.0, 0.0, -5.0])
def test_qualities_are_never_extrapolated(bits: float) -> None:
    assert "never extrapolated" in failing_message(quality_at_bits, curve(ANCHOR), bits)


def test_one_point_is_no_curve() -> None:
    assert "a curve needs two" in failing_message(bits_at_quality, curve(ANCHOR[:1]), 24.71)
