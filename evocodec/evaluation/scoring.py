"""From curves to the numbers that decide: the score, and the estimate of the screen stage."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import (
    ClipScore,
    Cost,
    Interval,
    RatePoint,
    RdCurve,
    Score,
    ScreenResult,
)
from evocodec.domain.video import StreamInfo
from evocodec.evaluation.bdrate import MIN_OVERLAP, bd_rate
from evocodec.evaluation.confidence import geometric_interval, mean_interval
from evocodec.evaluation.cost import time_ratios
from evocodec.evaluation.curves import bits_at_quality, describe, log_rate_slope

HEVC_MBPS = 10.0
"""What ``bitrate_mbps`` is for the anchor, by definition."""

MAX_SCREEN_DIFFERENCE_DB = 4.0


def score_candidate(
    *,
    streams: Mapping[str, StreamInfo],
    anchors: Mapping[str, RdCurve],
    operating_db: Mapping[str, float],
    curves: Mapping[str, RdCurve],
    program_bytes: int,
    packed_program_bytes: int = 0,
    charge_program: bool = False,
    reference_costs: Mapping[str, Cost] | None = None,
    confidence: float = 0.9,
) -> Score:
    """Compare a candidate's curves with the anchors', the first four mappings keyed by clip.

    ``bitrate_mbps`` is 10 × the geometric mean over clips of candidate bits ÷ anchor bits at the
    operating quality; ``compression_ratio`` is raw bits ÷ candidate bits there, all clips
    together; ``bd_rate_percent`` is the mean over clips of the Akima BD-rate. With
    ``charge_program`` every stream is as much longer as the packed program.
    ``reference_costs`` are the anchor's, of this machine, by clip. Raises
    ``CandidateFailure`` (quality) when a curve cannot be compared, and ``ValueError`` when the
    mappings or frame counts do not belong together.
    """
    if not streams or not set(streams) == set(anchors) == set(operating_db) == set(curves):
        raise ValueError(
            f"clips differ: streams {sorted(streams)}, anchors {sorted(anchors)}, operating "
            f"qualities {sorted(operating_db)}, curves {sorted(curves)}"
        )
    if charge_program:
        curves = {clip: charged(curve, packed_program_bytes) for clip, curve in curves.items()}
    scores = tuple(
        _score_clip(streams[clip], anchors[clip], operating_db[clip], curves[clip])
        for clip in sorted(streams)
    )
    worst = max(scores, key=lambda score: score.rate_ratio)
    points = [point for curve in curves.values() for point in curve.points]
    frames = sum(point.cost.frames for point in points)
    raw_bits = sum(stream.raw_bits for stream in streams.values())
    encode_ratio, decode_ratio = time_ratios(curves, operating_db, reference_costs or {})
    ratios = [score.rate_ratio for score in scores]
    bd_rates = [score.bd_rate.akima_percent for score in scores]
    return Score(
        bitrate_mbps=HEVC_MBPS * _geometric_mean(ratios),
        compression_ratio=raw_bits / math.fsum(score.candidate_bits for score in scores),
        bd_rate_percent=math.fsum(bd_rates) / len(scores),
        worst_clip=worst.clip,
        worst_clip_ratio=worst.rate_ratio,
        encode_fps=_per_second(frames, sum(point.cost.encode_wall_seconds for point in points)),
        decode_fps=_per_second(frames, sum(point.cost.decode_wall_seconds for point in points)),
        peak_memory_bytes=max(point.cost.peak_memory_bytes for point in points),
        program_bytes=program_bytes,
        clips=scores,
        packed_program_bytes=packed_program_bytes,
        bitrate_interval_mbps=_bitrate_interval(ratios, confidence),
        bd_rate_interval_percent=mean_interval(bd_rates, confidence),
        encode_time_ratio=encode_ratio,
        decode_time_ratio=decode_ratio,
    )


def charged(curve: RdCurve, extra_bytes: int) -> RdCurve:
    """The curve with so many bytes added to every stream."""
    return replace(
        curve,
        points=tuple(replace(point, bits=point.bits + 8 * extra_bytes) for point in curve.points),
    )


def _bitrate_interval(ratios: Sequence[float], confidence: float) -> Interval | None:
    interval = geometric_interval(ratios, confidence)
    if interval is None:
        return None
    return replace(interval, low=HEVC_MBPS * interval.low, high=HEVC_MBPS * interval.high)


def screen(
    *,
    reference: Mapping[str, RatePoint],
    candidate: Mapping[str, RatePoint],
    anchors: Mapping[str, RdCurve],
    reference_id: str,
    keep_below: float,
) -> ScreenResult:
    """Estimate the rate ratio at equal quality from one rate of a few frames of each clip.

    Where the two differ in quality, the candidate's bits are moved along the anchor's slope
    d ln(bits) / d PSNR-Y at the middle of both. That is an estimate: it may turn a candidate
    away, and never adopts one. Beyond ``MAX_SCREEN_DIFFERENCE_DB`` it is not trusted, and the
    candidate passes. Raises ``ValueError`` when clips or frame counts differ.
    """
    if not reference or set(reference) != set(candidate):
        raise ValueError(f"clips differ: {sorted(reference)} and {sorted(candidate)}")
    per_clip = {
        clip: _rate_ratio(reference[clip], candidate[clip], anchors[clip])
        for clip in sorted(reference)
    }
    ratio = _geometric_mean(list(per_clip.values()))
    difference_db, clip = max(
        (abs(candidate[clip].quality.psnr_y_db - reference[clip].quality.psnr_y_db), clip)
        for clip in per_clip
    )
    judged = difference_db <= MAX_SCREEN_DIFFERENCE_DB
    frames = max(point.frames for point in reference.values())
    if not judged:
        reason = (
            f"{difference_db:.1f} dB away from {reference_id} on {clip}: too far to judge from "
            f"{frames} frames, so it is measured in full"
        )
    else:
        reason = _screen_reason(ratio, keep_below, reference_id, frames)
    return ScreenResult(
        rate_ratio=ratio,
        per_clip=per_clip,
        reference_id=reference_id,
        passed=not judged or ratio <= keep_below,
        reason=reason,
    )


def _score_clip(
    stream: StreamInfo, anchor: RdCurve, operating_psnr_y_db: float, curve: RdCurve
) -> ClipScore:
    for measured in (anchor, curve):
        if any(point.frames != stream.frame_count for point in measured.points):
            raise ValueError(
                f"{curve.clip}: {measured.codec} was measured on another number of frames than "
                f"{stream.frame_count}"
            )
    comparison = bd_rate(anchor, curve)
    if comparison.overlap < MIN_OVERLAP:
        raise CandidateFailure(
            FailureKind.QUALITY,
            f"{curve.clip}: the curve covers {comparison.overlap:.0%} of the anchor's quality "
            f"range; {MIN_OVERLAP:.0%} are needed for a comparison",
            detail=describe(curve),
        )
    anchor_bits = bits_at_quality(anchor, operating_psnr_y_db)
    candidate_bits = bits_at_quality(curve, operating_psnr_y_db)
    return ClipScore(
        clip=curve.clip,
        curve=curve,
        bd_rate=comparison,
        operating_psnr_y_db=operating_psnr_y_db,
        anchor_bits=anchor_bits,
        candidate_bits=candidate_bits,
        rate_ratio=candidate_bits / anchor_bits,
        compression_ratio=stream.raw_bits / candidate_bits,
    )


def _rate_ratio(reference: RatePoint, candidate: RatePoint, anchor: RdCurve) -> float:
    if reference.frames != candidate.frames:
        raise ValueError(
            f"{reference.clip}: {candidate.frames} frames cannot be compared with "
            f"{reference.frames}"
        )
    ours, theirs = candidate.quality.psnr_y_db, reference.quality.psnr_y_db
    slope = log_rate_slope(anchor, (ours + theirs) / 2)
    return math.exp(math.log(candidate.bits / reference.bits) - slope * (ours - theirs))


def _screen_reason(ratio: float, keep_below: float, reference_id: str, frames: int) -> str:
    change = 100 * (ratio - 1)
    estimate = (
        f"estimated {abs(change):.1f} % {'more' if change > 0 else 'fewer'} bits than "
        f"{reference_id} on {frames} frames"
    )
    if ratio <= keep_below:
        return f"{estimate}: worth a full evaluation"
    margin = 100 * (1 - keep_below)
    need = (
        f"must save at least {margin:.3g} %"
        if margin > 0
        else f"may need at most {-margin:.3g} % more"
    )
    return f"{estimate}; a candidate {need} to be worth a full evaluation"


def _geometric_mean(ratios: list[float]) -> float:
    return math.exp(math.fsum(math.log(ratio) for ratio in ratios) / len(ratios))


def _per_second(frames: int, seconds: float) -> float:
    return frames / seconds if seconds > 0 else 0.0
