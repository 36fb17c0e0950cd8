"""Which qp to measure next, until a candidate's curve can be compared with the anchor's.

A codec's qp scale is its own; the plan only assumes that a larger qp means less quality. It
looks for four points that cover 60 % of the anchor's working range with the operating quality
between them, and gives up with an explanation that a coder can act on.
"""

from collections.abc import Sequence
from itertools import pairwise

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import RatePoint, RdCurve
from evocodec.evaluation.bdrate import MIN_OVERLAP, MIN_POINTS, quality_overlap
from evocodec.evaluation.curves import check_monotonic, describe, make_curve, quality_range

QP_MIN, QP_MAX = 0.0, 63.0
DEFAULT_QPS = (20.0, 26.0, 32.0, 38.0)

_MAX_INITIAL = 6
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


def initial_qps(previous: Sequence[float] | None) -> tuple[float, ...]:
    """The first rates to measure: those that suited a relative, or evenly spaced defaults."""
    known = sorted({_rounded(qp) for qp in previous or ()})
    if len(known) < MIN_POINTS:
        return DEFAULT_QPS
    last = len(known) - 1
    count = min(len(known), _MAX_INITIAL)
    return tuple(known[round(index * last / (count - 1))] for index in range(count))


def next_qps(
    anchor: RdCurve,
    measured: Sequence[RatePoint],
    operating_psnr_y_db: float,
    *,
    max_points: int = 8,
) -> tuple[float, ...]:
    """Return the rates still missing, or nothing when the measured curve is usable.

    Usable: at least four points, one or more either side of the operating quality, and at least
    60 % of the anchor's range covered. Raises ``CandidateFailure`` (quality) when this cannot be
    reached: qp has no effect or the wrong sign, its limits are hit, the curve is not monotonic,
    or ``max_points`` were not enough.
    """
    points = sorted({point.qp: point for point in measured}.values(), key=lambda point: point.qp)
    if len(points) < 2:
        taken = {point.qp for point in points}
        return tuple(qp for qp in DEFAULT_QPS if qp not in taken)
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
    missing = MIN_POINTS - len(curve.points) - len(wanted)
    if missing > 0 or not wanted:
        wanted += _in_widest_gaps(anchor, points, only_wide=False)[: max(1, missing)]
    if not wanted:
        raise _failure(anchor, curve, "no other qp between the measured ones could help")
    return tuple(sorted(wanted)[:room])


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


def _outwards(
    anchor: RdCurve, curve: RdCurve, points: list[RatePoint], operating_psnr_y_db: float
) -> list[float]:
    anchor_low, anchor_high = quality_range(anchor)
    margin = _AIM_MARGIN * (anchor_high - anchor_low)
    aim_low = min(anchor_low + margin, operating_psnr_y_db - margin / 2)
    aim_high = max(anchor_high - margin, operating_psnr_y_db + margin / 2)
    low, high = quality_range(curve)
    wanted = []
    if high < aim_high:
        wanted.append(_towards(anchor, curve, points, aim_high, limit=QP_MIN))
    if low > aim_low:
        wanted.append(_towards(anchor, curve, points, aim_low, limit=QP_MAX))
    return wanted


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


def _in_widest_gaps(anchor: RdCurve, points: list[RatePoint], *, only_wide: bool) -> list[float]:
    """Rates in the middle of gaps in quality within the anchor's range, widest gap first."""
    anchor_low, anchor_high = quality_range(anchor)
    gaps: list[tuple[float, float]] = []
    for better, worse in pairwise(points):
        top, bottom = better.quality.psnr_y_db, worse.quality.psnr_y_db
        inside_top, inside_bottom = min(top, anchor_high), max(bottom, anchor_low)
        width = inside_top - inside_bottom
        too_narrow = only_wide and top - bottom <= _WIDEST_GAP * (anchor_high - anchor_low)
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
