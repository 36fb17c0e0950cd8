"""Comparisons over every metric: a figure where there is one, and words where there is none."""

from collections.abc import Sequence

import bjontegaard
import numpy as np
import pytest

from evocodec.curves.bd_rate import bd_rate
from evocodec.curves.compare import FaultKind, compare_curves, pair_faults
from evocodec.curves.rd_curve import make_curve
from evocodec.domain.results import Comparison, Metric, Quality, RatePoint, RdCurve

BITS = (30000, 60000, 110000, 200000, 330000)


def point(bits: int, metric: Metric, value: float | None) -> RatePoint:
    """A point with one metric of interest; the others rise with the bits."""
    usual = 20 + 5 * float(np.log2(max(1, bits) / 20000))
    values: dict[Metric, float | None] = dict.fromkeys(Metric, usual)
    values[metric] = value
    db = values[Metric.MS_SSIM]
    quality = Quality(
        psnr_y_db=values[Metric.PSNR_Y] or 0.0,
        psnr_u_db=values[Metric.PSNR_U] or 0.0,
        psnr_v_db=values[Metric.PSNR_V] or 0.0,
        psnr_611_db=values[Metric.PSNR_611] or 0.0,
        ms_ssim=None if db is None else 1 - 10 ** (-db / 10),
        worst_frame_psnr_y_db=0.0,
        vmaf=values[Metric.VMAF],
        vmaf_neg=values[Metric.VMAF_NEG],
    )
    return RatePoint("clip", round(60 - 10 * float(np.log10(max(1, bits))), 1), bits, 8, quality)


def curve(
    values: Sequence[float | None],
    metric: Metric = Metric.PSNR_Y,
    bits: Sequence[float] = BITS,
    codec: str = "ours",
) -> RdCurve:
    pairs = zip(bits, values, strict=True)
    return make_curve(codec, "clip", [point(round(b), metric, value) for b, value in pairs])


USUAL = (24.0, 27.0, 30.0, 33.0, 36.0)
ANCHOR = curve(USUAL, codec="x265")


def compared(test: RdCurve, metric: Metric = Metric.PSNR_Y, anchor: RdCurve = ANCHOR) -> Comparison:
    (result,) = compare_curves(anchor, test, (metric,))
    assert (result.anchor, result.clip, result.metric) == (anchor.codec, "clip", metric)
    return result


@pytest.mark.parametrize("metric", list(Metric))
def test_bd_rate_over_any_metric_equals_an_independent_implementation(metric: Metric) -> None:
    ours = [25.3, 28.2, 30.4, 33.9, 35.2]
    bits = [40100, 70500, 120900, 230100, 301000]
    theirs = bjontegaard.bd_rate(
        np.array(BITS, dtype=float),
        np.array(USUAL),
        np.array(bits, dtype=float),
        np.array(ours),
        method="akima",
        min_overlap=0,
    )
    result = bd_rate(curve(USUAL, metric), curve(ours, metric, bits), metric)
    assert result.akima_percent == pytest.approx(theirs, abs=1e-4)


def test_every_metric_is_compared_and_good_curves_have_no_problem() -> None:
    halved = curve(USUAL, bits=[b / 2 for b in BITS])
    found = compare_curves(ANCHOR, halved, (Metric.PSNR_Y, Metric.PSNR_U))
    assert [c.metric for c in found] == [Metric.PSNR_Y, Metric.PSNR_U]
    assert found[0].problem == ""
    assert found[0].bd_rate is not None
    assert found[0].bd_rate.akima_percent == pytest.approx(-50)


def test_too_few_points_leave_no_figure() -> None:
    result = compared(curve(USUAL[:3], bits=BITS[:3]))
    assert result.bd_rate is None
    assert result.problem == "ours: 3 rate points where BD-rate needs 4"


def test_a_curve_that_falls_names_the_points() -> None:
    fallen = curve((24.0, 27.0, 26.5, 33.0, 36.0))
    result = compared(fallen)
    assert result.bd_rate is None
    assert result.problem == (
        "ours: not monotonic in PSNR-Y: more bits give no more quality from qp 12.2 to qp 9.6"
    )
    (fault,) = pair_faults(ANCHOR, fallen)
    assert (fault.kind, fault.points, fault.fatal) == (FaultKind.NOT_MONOTONIC, (2,), True)


def test_an_anchor_that_falls_is_said_to_be_the_anchors_fault() -> None:
    fallen = curve((24.0, 27.0, 26.5, 33.0, 36.0), codec="x265")
    assert compared(curve(USUAL), anchor=fallen).problem.startswith("x265: not monotonic")


def test_little_overlap_leaves_no_figure_and_says_both_ranges() -> None:
    result = compared(curve((29.0, 30.5, 31.0, 33.0, 34.0)))
    assert result.bd_rate is None
    assert result.problem == (
        "ours covers 42% of the PSNR-Y range of x265 (29.00 to 34.00 of 24.00 to 36.00 dB); 60% "
        "are needed, and nothing is extrapolated"
    )


def test_points_at_the_ceiling_are_left_out_and_said() -> None:
    anchor = curve((60, 75, 85, 92, 97), Metric.VMAF, codec="x265")
    ours = curve((62, 78, 88, 95, 100), Metric.VMAF)
    result = compared(ours, Metric.VMAF, anchor)
    assert result.bd_rate is not None
    assert result.problem == "ours: VMAF is saturated at 100 at qp 4.8, which is left out"
    shorter = curve((62, 78, 88, 95), Metric.VMAF, BITS[:4])
    assert result.bd_rate == bd_rate(anchor, shorter, Metric.VMAF)


def test_a_saturated_curve_has_too_few_points_left() -> None:
    anchor = curve((60, 75, 85, 92, 97), Metric.VMAF, codec="x265")
    result = compared(curve((62, 88, 95, 100, 100), Metric.VMAF), Metric.VMAF, anchor)
    assert result.bd_rate is None
    assert "saturated at 100 at qp 7, qp 4.8" in result.problem
    assert "3 rate points" in result.problem


@pytest.mark.parametrize("metric", [Metric.MS_SSIM, Metric.VMAF])
def test_a_metric_that_was_not_measured_is_said(metric: Metric) -> None:
    unknown = curve((None,) * 5, metric)
    result = compared(unknown, metric)
    assert result.bd_rate is None
    assert "was not measured" in result.problem


def test_curves_that_cross_say_where_and_how_much_on_each_side() -> None:
    factors = (0.8, 0.9, 1.0, 1.1, 1.2)
    crossing = curve(USUAL, bits=[b * f for b, f in zip(BITS, factors, strict=True)])
    result = compared(crossing)
    assert result.bd_rate is not None
    assert "ours and x265 cross at 30.0" in result.problem
    assert "% fewer bits below" in result.problem
    assert "% more bits above" in result.problem
    (fault,) = pair_faults(ANCHOR, crossing)
    assert (fault.kind, fault.fatal) == (FaultKind.CROSSING, False)
    assert fault.at == pytest.approx(30.0, abs=0.1)


def test_curves_that_touch_within_noise_do_not_cross() -> None:
    factors = (0.999, 1.001, 0.999, 1.001, 0.999)
    touching = curve(USUAL, bits=[b * f for b, f in zip(BITS, factors, strict=True)])
    assert compared(touching).problem == ""


def test_interpolants_that_disagree_are_a_warning_beside_the_figure() -> None:
    irregular = curve((24.0, 24.4, 31.0, 31.4, 35.9), bits=[40000, 60000, 61000, 200000, 201000])
    result = compared(irregular)
    assert result.bd_rate is not None
    assert "disagree by" in result.problem


def test_a_point_without_bits_is_said() -> None:
    assert "no bits" in compared(curve(USUAL, bits=(0, *BITS[1:]))).problem
