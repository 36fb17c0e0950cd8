"""Rate ladder: chooses the rates to measure an anchor at, until its curve covers the range.

Pure planning: rates in, rates out. PSNR-Y falls nearly linearly with an encoder's own rate scale,
so two points predict where a third one will lie.
"""

from collections.abc import Sequence
from itertools import pairwise

from evocodec.anchors.encoders import AnchorEncoder
from evocodec.curves.bd_rate import MIN_POINTS
from evocodec.curves.rd_curve import quality_range_db
from evocodec.domain.results import RatePoint, RdCurve

CRF_LADDER = (16.0, 20.0, 24.0, 28.0, 32.0, 36.0)
CRF_STEP = 4.0
POINTS_EACH_SIDE = 3

FIRST_POINTS = 4
MOST_POINTS = 10
# More than a comparison needs, so that anchors are compared over nearly the same qualities.
WANTED_OVERLAP = 0.8
WIDEST_GAP = 0.4
"""Of the primary anchor's quality range, between two points that follow each other."""
_FLATTEST_DB_PER_RATE = 0.05
_SHORTEST_STEP, _LONGEST_STEP = 2.0, 12.0


def bracketing_rates(
    points: Sequence[RatePoint], target_bits: float, limits: tuple[float, float]
) -> tuple[float, ...]:
    """Return the rates that are missing for three points either side of ``target_bits``."""
    if not points:
        return CRF_LADDER
    lowest, highest = limits
    rates = [point.qp for point in points]
    above = sum(point.bits > target_bits for point in points)
    below = len(points) - above
    wanted: list[float] = []
    if above < POINTS_EACH_SIDE and min(rates) > lowest:
        missing = POINTS_EACH_SIDE - above
        wanted += [max(lowest, min(rates) - CRF_STEP * (k + 1)) for k in range(missing)]
    if below < POINTS_EACH_SIDE and max(rates) < highest:
        missing = POINTS_EACH_SIDE - below
        wanted += [min(highest, max(rates) + CRF_STEP * (k + 1)) for k in range(missing)]
    return tuple(dict.fromkeys(wanted))


def covering_rates(
    points: Sequence[RatePoint],
    primary: RdCurve,
    operating_psnr_y_db: float,
    encoder: AnchorEncoder,
) -> tuple[float, ...]:
    """Return the rates that are missing to compare an encoder with the primary anchor's curve.

    Nothing is missing with four points that cover 80 % of the primary's quality range, the
    operating quality between them and no wide gap; or where the encoder's rate scale ends.
    """
    if not points:
        return _first_rates(primary, encoder)
    measured = sorted({point.qp: point for point in points}.values(), key=lambda point: point.qp)
    low, high = quality_range_db(primary)
    spare = (1 - WANTED_OVERLAP) / 2 * (high - low)
    aim_low, aim_high = (
        min(low + spare, operating_psnr_y_db),
        max(high - spare, operating_psnr_y_db),
    )
    best, worst = measured[0].quality.psnr_y_db, measured[-1].quality.psnr_y_db
    wanted: list[float] = []
    shared = min(best, high) - max(worst, low)
    covered = shared >= WANTED_OVERLAP * (high - low) and worst <= operating_psnr_y_db <= best
    if not covered and best < aim_high:
        wanted += _beyond(measured[0], measured[1:2], aim_high, encoder, encoder.rate_limits[0])
    if not covered and worst > aim_low:
        wanted += _beyond(measured[-1], measured[-2:-1], aim_low, encoder, encoder.rate_limits[1])
    if not wanted and len(measured) < MIN_POINTS:
        wanted += _between(measured, encoder)
    if not wanted:
        wanted += _in_wide_gaps(measured, low, high, encoder)
    fresh = [rate for rate in wanted if all(rate != point.qp for point in measured)]
    return tuple(fresh[: max(0, MOST_POINTS - len(measured))])


def _first_rates(primary: RdCurve, encoder: AnchorEncoder) -> tuple[float, ...]:
    crfs = [point.qp for point in primary.points]
    offset, slope = encoder.rate_of_crf
    # The outermost tenths of the range cost the most bits and are not needed.
    margin = (1 - WANTED_OVERLAP) / 2 * (max(crfs) - min(crfs))
    first, last = (offset + slope * crf for crf in (min(crfs) + margin, max(crfs) - margin))
    steps = [first + (last - first) * k / (FIRST_POINTS - 1) for k in range(FIRST_POINTS)]
    return tuple(dict.fromkeys(_on_scale(rate, encoder) for rate in steps))


def _beyond(
    end: RatePoint, inner: Sequence[RatePoint], aim_db: float, encoder: AnchorEncoder, limit: float
) -> list[float]:
    if end.qp == limit:
        return []
    slope = -1.0
    if inner:
        fall_db = end.quality.psnr_y_db - inner[0].quality.psnr_y_db
        slope = min(fall_db / (end.qp - inner[0].qp), -_FLATTEST_DB_PER_RATE)
    away = abs((aim_db - end.quality.psnr_y_db) / slope) + encoder.rate_step
    length = min(max(away, _SHORTEST_STEP), _LONGEST_STEP)
    return [_on_scale(end.qp + (length if limit > end.qp else -length), encoder)]


def _between(measured: Sequence[RatePoint], encoder: AnchorEncoder) -> list[float]:
    missing = MIN_POINTS - len(measured)
    first, last = measured[0].qp, measured[-1].qp
    steps = [first + (last - first) * (k + 1) / (missing + 1) for k in range(missing)]
    return list(dict.fromkeys(_on_scale(rate, encoder) for rate in steps))


def _in_wide_gaps(
    measured: Sequence[RatePoint], low: float, high: float, encoder: AnchorEncoder
) -> list[float]:
    """Return rates in the middle of steps that are too wide to interpolate.

    AV1 encoders have some towards their lowest rates.
    """
    wanted = []
    for better, worse in pairwise(measured):
        inside = min(better.quality.psnr_y_db, high) - max(worse.quality.psnr_y_db, low)
        if inside > WIDEST_GAP * (high - low) and worse.qp - better.qp >= 2 * encoder.rate_step:
            wanted.append(_on_scale((better.qp + worse.qp) / 2, encoder))
    return wanted


def _on_scale(rate: float, encoder: AnchorEncoder) -> float:
    low, high = encoder.rate_limits
    return min(max(round(rate / encoder.rate_step) * encoder.rate_step, low), high)
