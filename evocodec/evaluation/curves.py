"""Reading a rate–distortion curve between its measured points, and never beyond them.

Log10 of the bits is interpolated over PSNR-Y with PCHIP (Fritsch and Carlson, 1980), which keeps
a rising curve rising; the inverse is solved on the same interpolant, so that both directions
agree.
"""

import math
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import RatePoint, RdCurve
from evocodec.evaluation.metrics import PSNR_CAP_DB

# Closer than this, two points say nothing about the slope between them.
_MIN_STEP_DB = 1e-4
# A wanted value this close to an end of the curve is the end: floats, not extrapolation.
_EDGE_DB = 1e-9


def make_curve(codec: str, clip: str, points: Iterable[RatePoint]) -> RdCurve:
    """Sort points by bits, and keep one of several that say the same.

    Points with the same bits and quality are one point (qp at the end of its effect); of several
    lossless points only the smallest counts.
    """
    ordered = sorted(points, key=lambda point: (point.bits, point.quality.psnr_y_db))
    kept: list[RatePoint] = []
    for point in ordered:
        if not kept or not _says_the_same(kept[-1], point):
            kept.append(point)
    return RdCurve(codec, clip, tuple(kept))


def _says_the_same(smaller: RatePoint, larger: RatePoint) -> bool:
    gain_db = larger.quality.psnr_y_db - smaller.quality.psnr_y_db
    lossless = smaller.quality.psnr_y_db >= PSNR_CAP_DB and gain_db == 0
    return lossless or (smaller.bits == larger.bits and abs(gain_db) < _MIN_STEP_DB)


def check_monotonic(curve: RdCurve) -> None:
    """Raise ``CandidateFailure`` unless bits and PSNR-Y rise together from point to point."""
    points = curve.points
    if any(point.bits <= 0 for point in points):
        raise CandidateFailure(
            FailureKind.QUALITY, f"{curve.clip}: a rate point has no bits", detail=describe(curve)
        )
    for before, after in pairwise(points):
        gain_db = after.quality.psnr_y_db - before.quality.psnr_y_db
        if after.bits <= before.bits or gain_db < _MIN_STEP_DB:
            raise CandidateFailure(
                FailureKind.QUALITY,
                f"{curve.clip}: the curve of {curve.codec} is not monotonic: from qp "
                f"{before.qp:g} to qp {after.qp:g} bits change by {after.bits - before.bits:+d} "
                f"but PSNR-Y by {gain_db:+.3f} dB; more bits must give more quality",
                detail=describe(curve),
            )


def describe(curve: RdCurve) -> str:
    """The points as a small table in plain text, for people and for a coder's repair."""
    rows = [
        f"{point.qp:8.2f} {point.bits:12d} {point.quality.psnr_y_db:10.3f}"
        for point in curve.points
    ]
    return "\n".join([f"{'qp':>8} {'bits':>12} {'PSNR-Y dB':>10}", *rows])


def quality_range_db(curve: RdCurve) -> tuple[float, float]:
    """Lowest and highest PSNR-Y of the measured points."""
    values = [point.quality.psnr_y_db for point in curve.points]
    return min(values), max(values)


def bits_at_quality(curve: RdCurve, psnr_y_db: float) -> float:
    """Bits that the codec needs for a quality, between its measured points.

    Raises ``CandidateFailure`` (quality) when the curve is not monotonic, has fewer than two
    points, or does not reach the quality from both sides.
    """
    psnr, log_bits = curve_arrays(curve)
    low, high = float(psnr[0]), float(psnr[-1])
    if not low - _EDGE_DB <= psnr_y_db <= high + _EDGE_DB:
        raise CandidateFailure(
            FailureKind.QUALITY,
            f"{curve.clip}: {curve.codec} was measured from {low:.2f} to {high:.2f} dB PSNR-Y, "
            f"but {psnr_y_db:.2f} dB is needed; rates are never extrapolated",
            detail=describe(curve),
        )
    inside = min(max(psnr_y_db, low), high)
    return float(10 ** PchipInterpolator(psnr, log_bits)(inside))


def quality_at_bits(curve: RdCurve, bits: float) -> float:
    """PSNR-Y in dB that the codec reaches with so many bits; raises as ``bits_at_quality``."""
    psnr, log_bits = curve_arrays(curve)
    wanted = math.log10(bits) if bits > 0 else -math.inf
    if not log_bits[0] <= wanted <= log_bits[-1]:
        raise CandidateFailure(
            FailureKind.QUALITY,
            f"{curve.clip}: {curve.codec} was measured from {curve.points[0].bits} to "
            f"{curve.points[-1].bits} bits, but {bits:.0f} bits are asked for; qualities are "
            "never extrapolated",
            detail=describe(curve),
        )
    interpolant = PchipInterpolator(psnr, log_bits)
    # At the ends the interpolant may miss the point by the last float digit.
    if wanted <= float(interpolant(psnr[0])):
        return float(psnr[0])
    if wanted >= float(interpolant(psnr[-1])):
        return float(psnr[-1])
    return float(brentq(lambda x: float(interpolant(x)) - wanted, psnr[0], psnr[-1], xtol=1e-12))


def log_rate_slope(curve: RdCurve, psnr_y_db: float) -> float:
    """d ln(bits) / d PSNR-Y per dB at a quality, which is clamped into the measured range."""
    psnr, log_bits = curve_arrays(curve)
    inside = min(max(psnr_y_db, float(psnr[0])), float(psnr[-1]))
    slope = PchipInterpolator(psnr, log_bits).derivative()(inside)
    return float(slope) * math.log(10)


def curve_arrays(curve: RdCurve) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """PSNR-Y in dB and log10 of the bits, both rising, ready to interpolate.

    Raises ``CandidateFailure`` (quality) when there are fewer than two points or the curve is
    not monotonic.
    """
    if len(curve.points) < 2:
        raise CandidateFailure(
            FailureKind.QUALITY,
            f"{curve.clip}: {curve.codec} has {len(curve.points)} rate points; a curve needs two",
        )
    check_monotonic(curve)
    psnr = np.array([point.quality.psnr_y_db for point in curve.points], dtype=np.float64)
    bits = np.array([point.bits for point in curve.points], dtype=np.float64)
    return psnr, np.log10(bits)
