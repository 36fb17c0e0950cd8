"""Bjøntegaard delta rate: the mean difference in bits at equal quality between two curves.

After Bjøntegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33 (2001),
with Akima's piecewise cubics instead of one polynomial (Herglotz et al., "Beyond Bjøntegaard",
2022), and PCHIP as a cross-check. Where the two disagree, the rate points are too sparse or too
irregular to trust the last digits: both are reported.
"""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import BdRate, RdCurve
from evocodec.evaluation.curves import curve_arrays, describe, quality_range_db

MIN_POINTS = 4
MIN_OVERLAP = 0.6

_Array = npt.NDArray[np.float64]


class _Interpolant(Protocol):
    def integrate(self, a: float, b: float) -> object: ...


def quality_overlap(anchor: RdCurve, test: RdCurve) -> float:
    """Shared PSNR-Y range over the anchor's range, 0…1."""
    anchor_low, anchor_high = quality_range_db(anchor)
    low, high = quality_range_db(test)
    shared = min(high, anchor_high) - max(low, anchor_low)
    return max(0.0, shared) / (anchor_high - anchor_low)


def bd_rate(anchor: RdCurve, test: RdCurve) -> BdRate:
    """BD-rate of ``test`` against ``anchor`` in percent; negative means fewer bits.

    Integrated over the quality range that both reach, never beyond. Raises ``CandidateFailure``
    (quality) when a curve has fewer than four points or is not monotonic, or when they share no
    range. A small overlap is told in the result, and is the caller's to refuse.
    """
    for curve in (anchor, test):
        if len(curve.points) < MIN_POINTS:
            raise CandidateFailure(
                FailureKind.QUALITY,
                f"{curve.clip}: {curve.codec} has {len(curve.points)} rate points; BD-rate needs "
                f"{MIN_POINTS}",
                detail=describe(curve),
            )
    overlap = quality_overlap(anchor, test)
    if overlap == 0:
        raise CandidateFailure(
            FailureKind.QUALITY,
            f"{test.clip}: {test.codec} reaches {_span(test)} and {anchor.codec} {_span(anchor)}: "
            "no quality is shared, so rates cannot be compared",
            detail=describe(test),
        )
    return BdRate(
        akima_percent=_difference_percent(anchor, test, Akima1DInterpolator),
        pchip_percent=_difference_percent(anchor, test, PchipInterpolator),
        overlap=overlap,
    )


def _difference_percent(
    anchor: RdCurve, test: RdCurve, method: Callable[[_Array, _Array], _Interpolant]
) -> float:
    anchor_psnr, anchor_log_bits = curve_arrays(anchor)
    psnr, log_bits = curve_arrays(test)
    low = max(float(anchor_psnr[0]), float(psnr[0]))
    high = min(float(anchor_psnr[-1]), float(psnr[-1]))
    test_area = _area(method(psnr, log_bits), low, high)
    anchor_area = _area(method(anchor_psnr, anchor_log_bits), low, high)
    return 100 * math.expm1((test_area - anchor_area) / (high - low) * math.log(10))


def _area(interpolant: _Interpolant, low: float, high: float) -> float:
    return float(np.asarray(interpolant.integrate(low, high)))


def _span(curve: RdCurve) -> str:
    low, high = quality_range_db(curve)
    return f"{low:.2f} to {high:.2f} dB"
