"""Rate plan: chooses the next QPs, until a candidate's curve can be compared with the anchor's.

A codec's qp scale is its own; the plan only assumes that a larger qp means less quality. It
looks for four points that cover 60 % of the anchor's working range with the operating quality
between them, and gives up with an explanation that a coder can act on.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from evocodec.codec.contract import QP_MAX, QP_MIN
from evocodec.curves.bd_rate import MIN_OVERLAP, MIN_POINTS, quality_overlap
from evocodec.curves.rd_curve import check_monotonic, describe, make_curve, quality_range
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import RatePoint, RdCurve

FIRST_QPS = (24.0, 38.0)
"""Where nothing is known: enough to see how a codec's quality follows its qp."""

_RESOLUTION = 0.5
# Real encoders are not monotonic over half a qp: closer points would show their noise.
_MIN_SPACING = 1.0
_SHORTEST_STEP, _LONGEST_STEP = 2.0, 16.0
_FLATTEST_DB_PER_QP = 0.05
_NO_EFFECT_DB = 0.1
_NO_EFFECT_SPAN = 6.0
# Aim at the anchor's range without its outermost parts: enough for 60 %, and cheaper to reach.
_AIM_MARGIN = 0.15
# Wider apart than this share of the anchor's range, interpolation is guessing.
_WIDEST_GAP = 0.5
# As near to the operating quality as this share of the anchor's range is near enough.
_NEAR = 0.1
# A plan that would just do may miss by a guess: ask for this much more overlap.
_SAFETY = 0.05


def initial_qps(
    anchor: RdCurve, operating_psnr_y_db: float, relative: Sequence[RatePoint] = ()
) -> tuple[float, ...]:
    """The first rates to measure: four placed by a relative's curve, or two that feel the way.

    The four are the ends of the range to cover, the operating quality itself, where the number is
    read, and the middle of the wider gap; at the qp that gives them with the relative.
    """
    points = _distinct(relative)
    if len(points) < 2:
        return FIRST_QPS
    low, high = _aims(anchor, operating_psnr_y_db)
    middle = min(max(operating_psnr_y_db, low + (high - low) / 4), high - (high - low) / 4)
    between = (low + middle) / 2 if middle - low > high - middle else (middle + high) / 2
    wanted = sorted({_qp_for(points, quality) for quality in (low, middle, between, high)})
    spaced = all(after - before >= _MIN_SPACING for before, after in pairwise(wanted))
    return tuple(wanted) if len(wanted) == MIN_POINTS and spaced else FIRST_QPS


def next_qps(
    anchor: RdCurve,
    measured: Sequence[RatePoint],
    operating_psnr_y_db: float,
    *,
    max_points: int,
) -> tuple[float, ...]:
    """Return the rates still missing, or nothing when the measured curve is usable.

    Usable: at least four points, one or more either side of the operating quality, and at least
    60 % of the anchor's range covered. Raises ``CandidateFailure`` (quality) when this cannot be
    reached: qp has no effect or the wrong sign, its limits are hit, the curve is not monotonic,
    or ``max_points`` were not enough.
    """
    points = _distinct(measured)
    if len(points) < 2:
        taken = {point.qp for point in points}
        return tuple(qp for qp in FIRST_QPS if qp not in taken)
    _check_direction(points)
    curve = make_curve("candidate", points[0].clip, points)
    check_monotonic(curve)
    usable = _is_usable(anchor, curve, operating_psnr_y_db)
    room = max_points - len(points)
    if room <= 0:
        if usable:
            return ()
        raise _failure(anchor, curve, f"{len(points)} rate points were not enough")
    if usable:
        return tuple(_in_widest_gaps(anchor, points, only_wide=True)[:room])
    wanted = _outwards(anchor, curve, points, operating_psnr_y_db)
    foreseen = _distinct([*points, *(_predicted(points, qp) for qp in wanted)])
    missing = MIN_POINTS - len(curve.points) - len(wanted)
    while missing > 0 or not wanted:
        gaps = _at_operating_quality(anchor, foreseen, operating_psnr_y_db)
        gaps = gaps or _in_widest_gaps(anchor, foreseen, only_wide=False)
        if not gaps:
            break
        wanted.append(gaps[0])
        foreseen = _distinct([*foreseen, _predicted(points, gaps[0])])
        missing -= 1
    if not wanted:
        raise _failure(anchor, curve, "no other qp between the measured ones could help")
    return tuple(sorted(wanted[:room]))


def _distinct(points: Sequence[RatePoint]) -> list[RatePoint]:
    return sorted({point.qp: point for point in points}.values(), key=lambda point: point.qp)


def _is_usable(anchor: RdCurve, curve: RdCurve, operating_psnr_y_db: float) -> bool:
    low, high = quality_range(curve)
    return (
        len(curve.points) >= MIN_POINTS
        and low <= operating_psnr_y_db <= high
        and quality_overlap(anchor, curve) >= MIN_OVERLAP
    )


def _check_direction(points: Sequence[RatePoint]) -> None:
    best, worst = points[0], points[-1]
    fall_db = best.quality.psnr_y_db - worst.quality.psnr_y_db
    if fall_db < -_NO_EFFECT_DB:
        raise CandidateFailure(
            FailureKind.QUALITY,
            f"{best.clip}: qp works backwards: PSNR-Y rises by {-fall_db:.2f} dB from qp "
            f"{best.qp:g} to qp {worst.qp:g}; a larger qp must mean fewer bits and less quality",
        )
    if fall_db < _NO_EFFECT_DB and worst.qp - best.qp >= _NO_EFFECT_SPAN:
        raise CandidateFailure(
            FailureKind.QUALITY,
            f"{best.clip}: qp has no effect: PSNR-Y changes by only {fall_db:.2f} dB from qp "
            f"{best.qp:g} to qp {worst.qp:g}; let the quantiser follow qp over 0 to 63",
        )


def _aims(anchor: RdCurve, operating_psnr_y_db: float) -> tuple[float, float]:
    """The ends of the range to cover, around the operating quality."""
    low, high = quality_range(anchor)
    margin = _AIM_MARGIN * (high - low)
    aim_low = min(low + margin, operating_psnr_y_db - margin / 2)
    return aim_low, max(high - margin, operating_psnr_y_db + margin / 2)


def _outwards(
    anchor: RdCurve, curve: RdCurve, points: list[RatePoint], operating_psnr_y_db: float
) -> list[float]:
    """Rates beyond the ends of a curve: first where more is lacking, and no more than needed."""
    aim_low, aim_high = _aims(anchor, operating_psnr_y_db)
    low, high = quality_range(curve)
    ends = sorted([(aim_high - high, aim_high, QP_MIN), (low - aim_low, aim_low, QP_MAX)])[::-1]
    wanted: list[float] = []
    for lacking, aim, limit in ends:
        if lacking <= 0 or (wanted and _covers(anchor, low, high, operating_psnr_y_db)):
            continue
        wanted.append(_towards(anchor, curve, points, aim, limit=limit))
        low, high = min(low, aim), max(high, aim)
    return wanted


def _covers(anchor: RdCurve, low: float, high: float, operating_psnr_y_db: float) -> bool:
    """Whether such a range will do, with room for a guess that is a little off."""
    anchor_low, anchor_high = quality_range(anchor)
    shared = min(high, anchor_high) - max(low, anchor_low)
    inside = low <= operating_psnr_y_db <= high
    return inside and shared >= (MIN_OVERLAP + _SAFETY) * (anchor_high - anchor_low)


def _predicted(points: list[RatePoint], qp: float) -> RatePoint:
    """Expected result of a rate, as a point to plan with."""
    slope, start = _line(points[:2] if qp <= points[0].qp else points[-2:])
    inside = points[0].qp <= qp <= points[-1].qp
    qps, values = zip(*((p.qp, p.quality.psnr_y_db) for p in points), strict=True)
    value = float(np.interp(qp, qps, values)) if inside else start + slope * qp
    return replace(points[0], qp=qp, quality=replace(points[0].quality, psnr_y_db=value))


def _line(points: Sequence[RatePoint]) -> tuple[float, float]:
    """PSNR-Y over qp through two points: slope, never rising, and value at qp 0."""
    left, right = points
    slope = (right.quality.psnr_y_db - left.quality.psnr_y_db) / (right.qp - left.qp)
    slope = min(slope, -_FLATTEST_DB_PER_QP)
    return slope, left.quality.psnr_y_db - slope * left.qp


def _qp_for(points: list[RatePoint], psnr_y_db: float) -> float:
    """The qp that gives a quality on the curve of a relative, extended straight at its ends."""
    for before, after in pairwise(points):
        if after.quality.psnr_y_db <= psnr_y_db <= before.quality.psnr_y_db:
            slope, start = _line((before, after))
            return _rounded((psnr_y_db - start) / slope)
    better = psnr_y_db > points[0].quality.psnr_y_db
    slope, start = _line(points[:2] if better else points[-2:])
    return _rounded((psnr_y_db - start) / slope)


def _towards(
    anchor: RdCurve, curve: RdCurve, points: list[RatePoint], aim_db: float, *, limit: float
) -> float:
    """Extrapolate qp over PSNR-Y from the two outermost points on the side of ``limit``."""
    outermost, inner = points[:2] if limit == QP_MIN else points[:-3:-1]
    if abs(outermost.qp - limit) < _RESOLUTION:
        raise _failure(
            anchor,
            curve,
            f"qp {outermost.qp:g}, the end of the scale, gives "
            f"{outermost.quality.psnr_y_db:.2f} dB where {aim_db:.2f} dB are needed",
        )
    slope = (outermost.quality.psnr_y_db - inner.quality.psnr_y_db) / (outermost.qp - inner.qp)
    step = (aim_db - outermost.quality.psnr_y_db) / min(slope, -_FLATTEST_DB_PER_QP)
    length = min(max(abs(step), _SHORTEST_STEP), _LONGEST_STEP)
    wanted = _rounded(outermost.qp + (length if limit > outermost.qp else -length))
    return limit if abs(wanted - limit) < _MIN_SPACING else wanted


def _at_operating_quality(
    anchor: RdCurve, points: list[RatePoint], operating_psnr_y_db: float
) -> list[float]:
    """The rate where the number is read, if no point is near it: interpolation errs least there."""
    low, high = quality_range(anchor)
    nearest = min(abs(point.quality.psnr_y_db - operating_psnr_y_db) for point in points)
    if nearest <= _NEAR * (high - low):
        return []
    qp = _qp_for(points, operating_psnr_y_db)
    spaced = all(abs(point.qp - qp) >= _MIN_SPACING for point in points)
    return [qp] if spaced and points[0].qp < qp < points[-1].qp else []


def _in_widest_gaps(anchor: RdCurve, points: list[RatePoint], *, only_wide: bool) -> list[float]:
    """Rates in the middle of gaps in quality within the anchor's range, widest gap first."""
    anchor_low, anchor_high = quality_range(anchor)
    gaps: list[tuple[float, float]] = []
    for better, worse in pairwise(points):
        top, bottom = better.quality.psnr_y_db, worse.quality.psnr_y_db
        inside_top, inside_bottom = min(top, anchor_high), max(bottom, anchor_low)
        width = inside_top - inside_bottom
        too_narrow = only_wide and width <= _WIDEST_GAP * (anchor_high - anchor_low)
        if width <= 0 or too_narrow or worse.qp - better.qp < 2 * _MIN_SPACING:
            continue
        share = (top - (inside_top + inside_bottom) / 2) / (top - bottom)
        middle = _rounded(better.qp + share * (worse.qp - better.qp))
        lowest, highest = better.qp + _MIN_SPACING, worse.qp - _MIN_SPACING
        gaps.append((width, min(max(middle, lowest), highest)))
    return [qp for _, qp in sorted(gaps, reverse=True)]


def _failure(anchor: RdCurve, curve: RdCurve, reason: str) -> CandidateFailure:
    anchor_low, anchor_high = quality_range(anchor)
    low, high = quality_range(curve)
    return CandidateFailure(
        FailureKind.QUALITY,
        f"{curve.clip}: {reason}. Measured {low:.2f} to {high:.2f} dB PSNR-Y with "
        f"{len(curve.points)} distinct points; a comparison needs {MIN_POINTS} points covering "
        f"{MIN_OVERLAP:.0%} of {anchor_low:.2f} to {anchor_high:.2f} dB around the operating "
        "quality. Let qp 0 to 63 span from nearly lossless to very coarse",
        detail=describe(curve),
    )


def _rounded(qp: float) -> float:
    return round(min(max(qp, QP_MIN), QP_MAX) / _RESOLUTION) * _RESOLUTION
