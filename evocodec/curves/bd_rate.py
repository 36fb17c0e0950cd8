"""Bjøntegaard delta rate: the mean difference in bits at equal quality between two curves.

After Bjøntegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33 (2001),
with Akima's piecewise cubics instead of one polynomial (Herglotz et al., "Beyond Bjøntegaard",
2022), and PCHIP as a cross-check. Where the two disagree, the rate points are too sparse or too
irregular to trust the last digits: both are reported.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from evocodec.curves.interpolation import Cubic, akima, pchip
from evocodec.curves.rd_curve import METRIC_NAMES, curve_arrays, describe, quality_range, unit_of
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import BdRate, Metric, RdCurve

MIN_POINTS = 4
MIN_OVERLAP = 0.6

_Array = npt.NDArray[np.float64]


def quality_overlap(anchor: RdCurve, test: RdCurve, metric: Metric = Metric.PSNR_Y) -> float:
    """Shared quality range over the anchor's range, 0…1."""
    anchor_low, anchor_high = quality_range(anchor, metric)
    low, high = quality_range(test, metric)
    shared = min(high, anchor_high) - max(low, anchor_low)
    return max(0.0, shared) / (anchor_high - anchor_low)


def bd_rate(anchor: RdCurve, test: RdCurve, metric: Metric = Metric.PSNR_Y) -> BdRate:
    """BD-rate of ``test`` against ``anchor`` in percent at equal values of a metric.

    Negative means fewer bits. It is integrated over the quality range that both curves reach, never
    beyond. Raises ``CandidateFailure`` (quality) when a curve has fewer than four points or is not
    monotonic, or when the curves share no range. The result reports a small overlap; the caller
    decides whether to refuse it.
    """
    for curve in (anchor, test):
        if len(curve.points) < MIN_POINTS:
            raise CandidateFailure(
                FailureKind.QUALITY,
                f"{curve.clip}: {curve.codec} has {len(curve.points)} rate points; BD-rate needs "
                f"{MIN_POINTS}",
                detail=describe(curve, metric),
            )
    overlap = quality_overlap(anchor, test, metric)
    if overlap == 0:
        raise CandidateFailure(
            FailureKind.QUALITY,
            f"{test.clip}: {test.codec} reaches {_span(test, metric)} and {anchor.codec} "
            f"{_span(anchor, metric)}: no quality is shared, so rates cannot be compared",
            detail=describe(test, metric),
        )
    return BdRate(
        akima_percent=_difference_percent(anchor, test, metric, akima),
        pchip_percent=_difference_percent(anchor, test, metric, pchip),
        overlap=overlap,
    )


def _difference_percent(
    anchor: RdCurve, test: RdCurve, metric: Metric, method: Callable[[_Array, _Array], Cubic]
) -> float:
    anchor_values, anchor_log_bits = curve_arrays(anchor, metric)
    values, log_bits = curve_arrays(test, metric)
    low = max(float(anchor_values[0]), float(values[0]))
    high = min(float(anchor_values[-1]), float(values[-1]))
    test_area = method(values, log_bits).integral(low, high)
    anchor_area = method(anchor_values, anchor_log_bits).integral(low, high)
    return 100 * math.expm1((test_area - anchor_area) / (high - low) * math.log(10))


def _span(curve: RdCurve, metric: Metric) -> str:
    low, high = quality_range(curve, metric)
    name = "" if metric is Metric.PSNR_Y else f" {METRIC_NAMES[metric]}"
    return f"{low:.2f} to {high:.2f}{unit_of(metric)}{name}"
