"""Comparison of two RD curves in every metric; faults of a curve are reported, not raised.

A comparison has a figure only where both curves can be trusted. Problems are reported as text, and
as faults that name the points, so that a plot can mark them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

import numpy as np

from evocodec.curves.bd_rate import MIN_OVERLAP, MIN_POINTS, bd_rate, quality_overlap
from evocodec.curves.interpolation import pchip
from evocodec.curves.rd_curve import (
    CEILINGS,
    METRIC_NAMES,
    MIN_STEP,
    curve_arrays,
    non_monotonic_points,
    quality_range,
    unit_of,
)
from evocodec.domain.results import Comparison, Metric, RatePoint, RdCurve
from evocodec.metrics.psnr import PSNR_CAP_DB

DISAGREEMENT_PERCENT = 1.0
"""Akima and PCHIP disagree when their BD-rates differ by more percentage points than this."""

CROSSING_PERCENT = 0.5
"""Curves cross when each needs this many per cent more bits somewhere; less is noise."""

_SATURATION = 1e-6
_SAMPLES = 400


class FaultKind(StrEnum):
    """Kinds of faults of one curve, or of a pair."""

    UNKNOWN = "unknown"  # the metric was not measured
    NO_BITS = "no_bits"
    TOO_FEW = "too_few"
    NOT_MONOTONIC = "not_monotonic"
    SATURATED = "saturated"  # points at the metric's ceiling were left out
    OVERLAP = "overlap"  # too little quality in common
    CROSSING = "crossing"
    DISAGREEMENT = "disagreement"  # Akima and PCHIP
    DEFINITION = "definition"  # the metric was defined otherwise when one of them was measured


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a comparison.

    ``points`` are indices into the curve called ``codec``; ``at`` is the quality at which curves
    cross. A ``fatal`` fault leaves no figure.
    """

    kind: FaultKind
    message: str
    fatal: bool
    codec: str = ""
    points: tuple[int, ...] = ()
    at: float | None = None


def compare_curves(
    anchor: RdCurve, test: RdCurve, metrics: Sequence[Metric] = tuple(Metric)
) -> tuple[Comparison, ...]:
    """BD-rate of ``test`` against ``anchor`` in each metric; faults are reported, not raised."""
    return tuple(_compare(anchor, test, metric) for metric in metrics)


def pair_faults(
    anchor: RdCurve, test: RdCurve, metric: Metric = Metric.PSNR_Y
) -> tuple[Fault, ...]:
    """Return the faults of either curve, and of the pair."""
    faults, _, _ = _examine(anchor, test, metric)
    return faults


def _compare(anchor: RdCurve, test: RdCurve, metric: Metric) -> Comparison:
    faults, usable_anchor, usable_test = _examine(anchor, test, metric)
    measured = None
    if not any(fault.fatal for fault in faults):
        measured = bd_rate(usable_anchor, usable_test, metric)
    return Comparison(
        anchor=anchor.codec,
        clip=test.clip,
        metric=metric,
        bd_rate=measured,
        problem="; ".join(fault.message for fault in faults),
    )


def _examine(
    anchor: RdCurve, test: RdCurve, metric: Metric
) -> tuple[tuple[Fault, ...], RdCurve, RdCurve]:
    usable_anchor, faults = _usable(anchor, metric)
    usable_test, others = _usable(test, metric)
    faults += others
    faults += _definitions(anchor, test, metric)
    if not any(fault.fatal for fault in faults):
        faults += _between(usable_anchor, usable_test, metric)
    return faults, usable_anchor, usable_test


def _definitions(anchor: RdCurve, test: RdCurve, metric: Metric) -> tuple[Fault, ...]:
    """Refuse to compare PSNR of two definitions, where they differ: see ``mean_psnr``."""
    if metric in (Metric.VMAF, Metric.VMAF_NEG, Metric.MS_SSIM):
        return ()
    counts = [point.quality.limited_frames for curve in (anchor, test) for point in curve.points]
    if not any(counts) or None not in counts:
        return ()
    message = (
        "one curve was measured by a version that counted lossless or nearly lossless frames in "
        "full, the other limits them: measure both again"
    )
    return (Fault(FaultKind.DEFINITION, message, fatal=True, codec=test.codec),)


def _usable(curve: RdCurve, metric: Metric) -> tuple[RdCurve, tuple[Fault, ...]]:
    """Return the curve without saturated points, and its faults."""

    def fault(kind: FaultKind, message: str, points: Sequence[int] = (), *, fatal: bool) -> Fault:
        return Fault(kind, f"{curve.codec}: {message}", fatal, curve.codec, tuple(points))

    values = [point.quality.value(metric) for point in curve.points]
    unknown = [index for index, value in enumerate(values) if value is None]
    if unknown:
        what = f"{METRIC_NAMES[metric]} was not measured"
        return curve, (fault(FaultKind.UNKNOWN, what, unknown, fatal=True),)
    empty = [index for index, point in enumerate(curve.points) if point.bits <= 0]
    if empty:
        return curve, (fault(FaultKind.NO_BITS, "a rate point has no bits", empty, fatal=True),)
    ceiling = CEILINGS[metric] - _SATURATION
    full = [
        index
        for index, (point, value) in enumerate(zip(curve.points, values, strict=True))
        if value is not None and (value >= ceiling or _mostly_full(point, metric))
    ]
    usable = replace(
        curve, points=tuple(p for index, p in enumerate(curve.points) if index not in full)
    )
    faults: list[Fault] = []
    if full:
        what = f"{METRIC_NAMES[metric]} is saturated at {CEILINGS[metric]:g}{unit_of(metric)} at "
        what += f"{_qps(curve, full)}, which is left out"
        faults.append(fault(FaultKind.SATURATED, what, full, fatal=False))
    broken = non_monotonic_points(usable, metric)
    if broken:
        steps = ", ".join(
            f"from qp {usable.points[index - 1].qp:g} to qp {usable.points[index].qp:g}"
            for index in broken
        )
        what = f"not monotonic in {METRIC_NAMES[metric]}: more bits give no more quality {steps}"
        places = [curve.points.index(usable.points[index]) for index in broken]
        faults.append(fault(FaultKind.NOT_MONOTONIC, what, places, fatal=True))
    if len(usable.points) < MIN_POINTS:
        what = f"{len(usable.points)} rate points where BD-rate needs {MIN_POINTS}"
        faults.append(fault(FaultKind.TOO_FEW, what, fatal=True))
    return usable, tuple(faults)


def _mostly_full(point: RatePoint, metric: Metric) -> bool:
    """Whether a mean consists mainly of values at a ceiling, which say nothing."""
    quality = point.quality
    if metric is Metric.PSNR_611:  # a lossless plane would make the sum
        return max(quality.psnr_y_db, quality.psnr_u_db, quality.psnr_v_db) >= PSNR_CAP_DB
    counts = {
        Metric.VMAF: quality.vmaf_full_frames,
        Metric.VMAF_NEG: quality.vmaf_neg_full_frames,
    }
    return 2 * counts.get(metric, 0) > point.frames


def _qps(curve: RdCurve, indices: Sequence[int]) -> str:
    return ", ".join(f"qp {curve.points[index].qp:g}" for index in indices)


def _between(anchor: RdCurve, test: RdCurve, metric: Metric) -> tuple[Fault, ...]:
    overlap = quality_overlap(anchor, test, metric)
    if overlap < MIN_OVERLAP:
        low, high = quality_range(test, metric)
        anchor_low, anchor_high = quality_range(anchor, metric)
        unit = unit_of(metric)
        message = (
            f"{test.codec} covers {overlap:.0%} of the {METRIC_NAMES[metric]} range of "
            f"{anchor.codec} ({low:.2f} to {high:.2f} of {anchor_low:.2f} to "
            f"{anchor_high:.2f}{unit}); {MIN_OVERLAP:.0%} are needed, and nothing is extrapolated"
        )
        return (Fault(FaultKind.OVERLAP, message, fatal=True, codec=test.codec),)
    return (*_crossings(anchor, test, metric), *_disagreement(anchor, test, metric))


def _disagreement(anchor: RdCurve, test: RdCurve, metric: Metric) -> tuple[Fault, ...]:
    measured = bd_rate(anchor, test, metric)
    apart = abs(measured.akima_percent - measured.pchip_percent)
    if apart <= DISAGREEMENT_PERCENT:
        return ()
    message = (
        f"Akima ({measured.akima_percent:+.1f} %) and PCHIP ({measured.pchip_percent:+.1f} %) "
        f"disagree by {apart:.1f} points: the rate points are too sparse or too irregular"
    )
    return (Fault(FaultKind.DISAGREEMENT, message, fatal=False, codec=test.codec),)


def _crossings(anchor: RdCurve, test: RdCurve, metric: Metric) -> tuple[Fault, ...]:
    """Return the qualities at which the curves cross, and the mean bit difference on each side."""
    anchor_curve = pchip(*curve_arrays(anchor, metric))
    test_curve = pchip(*curve_arrays(test, metric))
    low = max(float(anchor_curve.x[0]), float(test_curve.x[0]))
    high = min(float(anchor_curve.x[-1]), float(test_curve.x[-1]))
    where = np.linspace(low, high, _SAMPLES)
    difference = test_curve.at(where) - anchor_curve.at(where)
    threshold = np.log10(1 + CROSSING_PERCENT / 100)
    clear = np.flatnonzero(np.abs(difference) > threshold)
    turns = [
        (int(left), int(right))
        for left, right in pairwise(clear)
        if difference[left] * difference[right] < 0
    ]
    faults = []
    edges = [low]
    for left, right in turns:
        sign = int(
            np.argmax(np.signbit(difference[left : right + 1]) != np.signbit(difference[left]))
        )
        edges.append(float(where[left + sign]))
    edges.append(high)
    for index in range(1, len(edges) - 1):
        sides = [
            _mean_percent(test_curve.integral(a, b) - anchor_curve.integral(a, b), b - a)
            for a, b in ((edges[index - 1], edges[index]), (edges[index], edges[index + 1]))
        ]
        message = (
            f"{test.codec} and {anchor.codec} cross at {edges[index]:.2f}{unit_of(metric)} "
            f"{METRIC_NAMES[metric]}: {_amount(sides[0])} below, {_amount(sides[1])} above"
        )
        faults.append(Fault(FaultKind.CROSSING, message, False, test.codec, at=edges[index]))
    return tuple(faults)


def _mean_percent(area: float, width: float) -> float:
    return float(100 * (10 ** (area / width) - 1)) if width > MIN_STEP else 0.0


def _amount(percent: float) -> str:
    return f"{abs(percent):.1f} % {'more' if percent > 0 else 'fewer'} bits"
