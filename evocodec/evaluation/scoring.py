"""Scoring: computes the score of a candidate from its RD curves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import geometric_mean

from evocodec.curves.bd_rate import MIN_OVERLAP, bd_rate
from evocodec.curves.confidence import geometric_interval, mean_interval
from evocodec.curves.rd_curve import bits_at_quality, describe
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import (
    HEVC_BITRATE_MBPS,
    ClipScore,
    Cost,
    Interval,
    RdCurve,
    Score,
)
from evocodec.domain.video import StreamInfo
from evocodec.evaluation.cost import time_ratios


def score_candidate(
    *,
    streams: Mapping[str, StreamInfo],
    anchors: Mapping[str, RdCurve],
    operating_db: Mapping[str, float],
    curves: Mapping[str, RdCurve],
    program_bytes: int,
    confidence: float,
    packed_program_bytes: int = 0,
    charged_program_bytes: int = 0,
    reference_costs: Mapping[str, Cost] | None = None,
) -> Score:
    """Compare a candidate's curves with the anchors', the first four mappings keyed by clip.

    ``bitrate_mbps`` is 10 × the geometric mean over clips of candidate bits ÷ anchor bits at the
    operating quality; ``compression_ratio`` is raw bits ÷ candidate bits there, all clips
    together; ``bd_rate_percent`` is the mean over clips of the Akima BD-rate. Every
    stream is longer by ``charged_program_bytes``.
    ``reference_costs`` are the anchor's, of this machine, by clip. Raises
    ``CandidateFailure`` (quality) when a curve cannot be compared, and ``ValueError`` when the
    mappings or frame counts do not belong together.
    """
    if not streams or not set(streams) == set(anchors) == set(operating_db) == set(curves):
        raise ValueError(
            f"clips differ: streams {sorted(streams)}, anchors {sorted(anchors)}, operating "
            f"qualities {sorted(operating_db)}, curves {sorted(curves)}"
        )
    if charged_program_bytes:
        curves = {clip: charged(curve, charged_program_bytes) for clip, curve in curves.items()}
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
        bitrate_mbps=HEVC_BITRATE_MBPS * geometric_mean(ratios),
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
        charged_program_bytes=charged_program_bytes,
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
    return replace(
        interval, low=HEVC_BITRATE_MBPS * interval.low, high=HEVC_BITRATE_MBPS * interval.high
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


def _per_second(frames: int, seconds: float) -> float:
    return frames / seconds if seconds > 0 else 0.0
