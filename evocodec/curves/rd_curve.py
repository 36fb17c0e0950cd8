"""Interpolation of a rate-distortion curve between its measured points, never beyond them.

Log10 of the bits is interpolated over a quality metric with PCHIP, which keeps a rising curve
rising. The inverse is solved on the same interpolant, so that both directions agree. The default
metric is PSNR-Y.
"""

import math
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from evocodec.curves.interpolation import pchip
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import Metric, RatePoint, RdCurve
from evocodec.metrics.psnr import PSNR_CAP_DB

CEILINGS = {
    Metric.PSNR_Y: PSNR_CAP_DB,
    Metric.PSNR_U: PSNR_CAP_DB,
    Metric.PSNR_V: PSNR_CAP_DB,
    Metric.PSNR_611: PSNR_CAP_DB,
    Metric.MS_SSIM: 100.0,
    Metric.VMAF: 100.0,
    Metric.VMAF_NEG: 100.0,
}
"""What a metric says of everything from some quality on: nothing is told apart there."""

METRIC_NAMES = {
    Metric.PSNR_Y: "PSNR-Y",
    Metric.PSNR_U: "PSNR-U",
    Metric.PSNR_V: "PSNR-V",
    Metric.PSNR_611: "PSNR 6:1:1",
    Metric.MS_SSIM: "MS-SSIM",
    Metric.VMAF: "VMAF",
    Metric.VMAF_NEG: "VMAF-NEG",
}
"""How people write a metric's name."""

_DECIBELS = frozenset(Metric) - {Metric.VMAF, Metric.VMAF_NEG}

# Closer than this, two points say nothing about the slope between them.
MIN_STEP = 1e-4
# A wanted value this close to an end of the curve is the end: floats, not extrapolation.
_EDGE = 1e-9

_Array = npt.NDArray[np.float64]


def unit_of(metric: Metric) -> str:
    """Unit of a metric, `` dB`` with its space, or empty for a metric without one."""
    return " dB" if metric in _DECIBELS else ""


def make_curve(codec: str, clip: str, points: Iterable[RatePoint]) -> RdCurve:
    """Sort points by bits, and keep one of several points that are the same.

    Points with the same bits and quality are one point (where qp has no further effect). Of several
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
    return lossless or (smaller.bits == larger.bits and abs(gain_db) < MIN_STEP)


def metric_values(curve: RdCurve, metric: Metric) -> tuple[float, ...]:
    """Return the metric of every point; raises ``CandidateFailure`` where it was not measured."""
    values = tuple(point.quality.value(metric) for point in curve.points)
    found = tuple(value for value in values if value is not None)
    if len(found) < len(values):
        raise CandidateFailure(
            FailureKind.QUALITY,
            f"{curve.clip}: {METRIC_NAMES[metric]} of {curve.codec} is not known",
        )
    return found


def check_monotonic(curve: RdCurve, metric: Metric = Metric.PSNR_Y) -> None:
    """Raise ``CandidateFailure`` unless bits and quality rise together from point to point."""
    if any(point.bits <= 0 for point in curve.points):
        raise CandidateFailure(
            FailureKind.QUALITY, f"{curve.clip}: a rate point has no bits", detail=describe(curve)
        )
    broken = non_monotonic_points(curve, metric)
    if not broken:
        return
    index = broken[0]
    before, after = curve.points[index - 1 : index + 1]
    values = metric_values(curve, metric)
    raise CandidateFailure(
        FailureKind.QUALITY,
        f"{curve.clip}: the curve of {curve.codec} is not monotonic: from qp {before.qp:g} to qp "
        f"{after.qp:g} bits change by {after.bits - before.bits:+d} but {METRIC_NAMES[metric]} by "
        f"{values[index] - values[index - 1]:+.3f}{unit_of(metric)}; more bits must give more "
        "quality",
        detail=describe(curve, metric),
    )


def non_monotonic_points(curve: RdCurve, metric: Metric = Metric.PSNR_Y) -> tuple[int, ...]:
    """Indices of the points that do not rise in bits and quality above the one before."""
    values = metric_values(curve, metric)
    return tuple(
        index
        for index, (before, after) in enumerate(pairwise(curve.points), start=1)
        if after.bits <= before.bits or values[index] - values[index - 1] < MIN_STEP
    )


def describe(curve: RdCurve, metric: Metric = Metric.PSNR_Y) -> str:
    """Return the points as a small text table, for people and for the coder's repair prompt."""
    rows = [
        f"{point.qp:8.2f} {point.bits:12d} {value:10.3f}"
        for point, value in zip(curve.points, metric_values(curve, metric), strict=True)
    ]
    title = f"{METRIC_NAMES[metric]}{unit_of(metric)}"
    return "\n".join([f"{'qp':>8} {'bits':>12} {title:>10}", *rows])


def quality_range(curve: RdCurve, metric: Metric = Metric.PSNR_Y) -> tuple[float, float]:
    """Lowest and highest quality of the measured points, in the metric's unit."""
    values = metric_values(curve, metric)
    return min(values), max(values)


def quality_range_db(curve: RdCurve) -> tuple[float, float]:
    """Lowest and highest PSNR-Y of the measured points."""
    return quality_range(curve, Metric.PSNR_Y)


def bits_at_quality(curve: RdCurve, quality: float, metric: Metric = Metric.PSNR_Y) -> float:
    """Bits that the codec needs for a quality, between its measured points.

    Raises ``CandidateFailure`` (quality) when the curve is not monotonic, has fewer than two
    points, or does not reach the quality from both sides.
    """
    values, log_bits = curve_arrays(curve, metric)
    low, high = float(values[0]), float(values[-1])
    if not low - _EDGE <= quality <= high + _EDGE:
        unit = unit_of(metric)
        raise CandidateFailure(
            FailureKind.QUALITY,
            f"{curve.clip}: {curve.codec} was measured from {low:.2f} to {high:.2f}{unit} "
            f"{METRIC_NAMES[metric]}, but {quality:.2f}{unit} is needed; rates are never "
            "extrapolated",
            detail=describe(curve, metric),
        )
    inside = min(max(quality, low), high)
    return float(10 ** pchip(values, log_bits).value(inside))


def quality_at_bits(curve: RdCurve, bits: float, metric: Metric = Metric.PSNR_Y) -> float:
    """Quality that the codec reaches with so many bits; raises as ``bits_at_quality``."""
    values, log_bits = curve_arrays(curve, metric)
    wanted = math.log10(bits) if bits > 0 else -math.inf
    if not log_bits[0] <= wanted <= log_bits[-1]:
        raise CandidateFailure(
            FailureKind.QUALITY,
            f"{curve.clip}: {curve.codec} was measured from {curve.points[0].bits} to "
            f"{curve.points[-1].bits} bits, but {bits:.0f} bits are asked for; qualities are "
            "never extrapolated",
            detail=describe(curve, metric),
        )
    return pchip(values, log_bits).inverse(wanted)


def log_rate_slope(curve: RdCurve, psnr_y_db: float) -> float:
    """d ln(bits) / d PSNR-Y per dB at a quality, which is clamped into the measured range."""
    psnr, log_bits = curve_arrays(curve)
    return pchip(psnr, log_bits).slope(psnr_y_db) * math.log(10)


def curve_arrays(curve: RdCurve, metric: Metric = Metric.PSNR_Y) -> tuple[_Array, _Array]:
    """Quality and log10 of the bits, both rising, ready to interpolate.

    Raises ``CandidateFailure`` (quality) when there are fewer than two points or the curve is
    not monotonic.
    """
    if len(curve.points) < 2:
        raise CandidateFailure(
            FailureKind.QUALITY,
            f"{curve.clip}: {curve.codec} has {len(curve.points)} rate points; a curve needs two",
        )
    check_monotonic(curve, metric)
    values = np.array(metric_values(curve, metric), dtype=np.float64)
    bits = np.array([point.bits for point in curve.points], dtype=np.float64)
    return values, np.log10(bits)


def nearest_point(curve: RdCurve, psnr_y_db: float) -> RatePoint:
    """Return the measured point whose PSNR-Y is nearest to a quality in dB."""
    return min(curve.points, key=lambda point: abs(point.quality.psnr_y_db - psnr_y_db))
