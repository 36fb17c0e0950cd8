"""The numbers that decide, by hand-computed cases."""

from dataclasses import replace
from fractions import Fraction

import pytest

from evocodec.anchors.measure import OPERATING_BITS_PER_SAMPLE, operating_bits, operating_quality_db
from evocodec.curves.rd_curve import make_curve
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import Cost, Quality, RatePoint, RdCurve, Score
from evocodec.domain.video import StreamInfo
from evocodec.evaluation.scoring import charged, score_candidate

STREAM = StreamInfo(176, 144, Fraction(30), 8)
COST = Cost(2.0, 3.0, 0.5, 0.5, 1000, 8)


def point(clip: str, bits: float, psnr_y_db: float, qp: float = 30.0) -> RatePoint:
    quality = Quality(psnr_y_db, psnr_y_db, psnr_y_db, psnr_y_db, None, psnr_y_db)
    return RatePoint(clip, qp, round(bits), 8, quality, COST)


def hevc(clip: str, shift_db: float = 0.0) -> RdCurve:
    """Six points, 3 dB a doubling, around the operating rate."""
    middle = operating_bits(STREAM)
    return make_curve(
        "x265-medium",
        clip,
        [
            point(clip, middle * 2**k, 36 + shift_db + 3 * k)
            for k in (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)
        ],
    )


def times(curve: RdCurve, factor: float) -> RdCurve:
    return make_curve(
        "candidate", curve.clip, [replace(p, bits=round(p.bits * factor)) for p in curve.points]
    )


def score(factors: dict[str, float]) -> Score:
    anchors = {clip: hevc(clip, shift_db=index) for index, clip in enumerate(factors)}
    return score_candidate(
        streams=dict.fromkeys(factors, STREAM),
        anchors=anchors,
        operating_db={c: operating_quality_db(anchors[c], STREAM) for c in factors},
        curves={c: times(anchors[c], factor) for c, factor in factors.items()},
        program_bytes=1234,
        confidence=0.9,
    )


def test_the_operating_rate_is_ten_megabits_at_1080p30() -> None:
    assert pytest.approx(0.1608, abs=5e-5) == OPERATING_BITS_PER_SAMPLE
    assert operating_bits(StreamInfo(1920, 1080, Fraction(30), 30)) == pytest.approx(10e6)


def test_hevc_against_itself_is_ten_exactly() -> None:
    result = score({"a": 1.0, "b": 1.0})
    assert result.bitrate_mbps == 10.0
    assert result.bd_rate_percent == 0.0
    assert result.worst_clip_ratio == 1.0


def test_half_the_bits_at_equal_quality_is_five() -> None:
    result = score({"a": 0.5})
    assert result.bitrate_mbps == pytest.approx(5.0, rel=1e-3)
    assert result.bd_rate_percent == pytest.approx(-50, abs=0.05)
    assert result.clips[0].candidate_bits == pytest.approx(operating_bits(STREAM) / 2, rel=1e-3)


def test_clips_are_joined_by_the_geometric_mean() -> None:
    result = score({"a": 0.5, "b": 2.0})
    assert result.bitrate_mbps == pytest.approx(10.0, rel=1e-3)
    assert (result.worst_clip, result.worst_clip_ratio) == ("b", pytest.approx(2.0, rel=1e-3))


def test_compression_ratio_joins_all_bits() -> None:
    result = score({"a": 0.5, "b": 2.0})
    expected = 2 * STREAM.raw_bits / (2.5 * operating_bits(STREAM))
    assert result.compression_ratio == pytest.approx(expected, rel=1e-3)
    assert STREAM.raw_bits == 8 * 8 * 176 * 144 * 3 // 2


def test_throwing_quality_away_gains_nothing() -> None:
    anchor = hevc("a")
    worse = make_curve(
        "candidate",
        "a",
        [
            replace(
                p, bits=p.bits // 2, quality=replace(p.quality, psnr_y_db=p.quality.psnr_y_db - 3)
            )
            for p in anchor.points
        ],
    )
    result = score_candidate(
        streams={"a": STREAM},
        anchors={"a": anchor},
        operating_db={"a": operating_quality_db(anchor, STREAM)},
        curves={"a": worse},
        program_bytes=1,
        confidence=0.9,
    )
    assert result.bitrate_mbps == pytest.approx(10.0, rel=1e-3)


def test_costs_are_summed_over_all_points() -> None:
    result = score({"a": 1.0, "b": 1.0})
    assert result.encode_fps == pytest.approx(8 / 2.0)
    assert result.decode_fps == pytest.approx(8 / 0.5)
    assert (result.peak_memory_bytes, result.program_bytes) == (1000, 1234)


def test_a_curve_that_covers_too_little_of_the_anchor_is_refused() -> None:
    anchor = hevc("a")
    narrow = make_curve("candidate", "a", [point("a", 50000 + 9000 * k, 34 + k) for k in range(6)])
    with pytest.raises(CandidateFailure, match="33%") as failure:
        score_candidate(
            streams={"a": STREAM},
            anchors={"a": anchor},
            operating_db={"a": 36.0},
            curves={"a": narrow},
            program_bytes=1,
            confidence=0.9,
        )
    assert failure.value.kind is FailureKind.QUALITY


def test_curves_of_other_clips_or_lengths_are_a_mistake_of_the_caller() -> None:
    anchor = hevc("a")
    arguments = {
        "streams": {"a": STREAM},
        "anchors": {"a": anchor},
        "operating_db": {"a": 36.0},
        "program_bytes": 1,
        "confidence": 0.9,
    }
    with pytest.raises(ValueError, match="clips differ"):
        score_candidate(curves={"b": anchor}, **arguments)  # type: ignore[arg-type]
    short = replace(anchor, points=tuple(replace(p, frames=4) for p in anchor.points))
    with pytest.raises(ValueError, match="frames"):
        score_candidate(curves={"a": short}, **arguments)  # type: ignore[arg-type]


def test_intervals_over_clips_stand_beside_the_means() -> None:
    result = score({"a": 0.5, "b": 1.0, "c": 2.0})
    interval, bd_rates = result.bitrate_interval_mbps, result.bd_rate_interval_percent
    assert interval is not None
    assert bd_rates is not None
    assert (interval.low, interval.high) == pytest.approx((5.0, 20.0), rel=1e-3)
    assert (bd_rates.low, bd_rates.high) == pytest.approx((-50, 100), abs=0.1)
    assert (interval.level, interval.clips) == (0.9, 3)


def test_one_clip_has_no_interval() -> None:
    result = score({"a": 0.5})
    assert result.bitrate_interval_mbps is None
    assert result.bd_rate_interval_percent is None


def test_the_program_is_charged_once_for_every_stream() -> None:
    anchor = hevc("a")
    arguments = {
        "streams": {"a": STREAM},
        "anchors": {"a": anchor},
        "operating_db": {"a": operating_quality_db(anchor, STREAM)},
        "curves": {"a": anchor},
        "program_bytes": 9000,
        "packed_program_bytes": 500,
        "confidence": 0.9,
    }
    free = score_candidate(**arguments)  # type: ignore[arg-type]
    paid = score_candidate(**arguments, charged_program_bytes=500)  # type: ignore[arg-type]
    assert (free.bitrate_mbps, free.packed_program_bytes) == (10.0, 500)
    assert (free.charged_program_bytes, paid.charged_program_bytes) == (0, 500)
    share = 8 * 500 / operating_bits(STREAM)
    assert paid.bitrate_mbps == pytest.approx(10 * (1 + share), rel=1e-2)
    assert paid.clips[0].curve == charged(anchor, 500)
    assert [
        p.bits - q.bits for p, q in zip(paid.clips[0].curve.points, anchor.points, strict=True)
    ] == [4000] * 6


def test_time_is_compared_with_the_anchors_own_frame_by_frame() -> None:
    anchor = hevc("a")
    result = score_candidate(
        streams={"a": STREAM},
        anchors={"a": anchor},
        operating_db={"a": 36.0},
        curves={"a": anchor},
        program_bytes=1,
        confidence=0.9,
        reference_costs={"a": Cost(9.0, 1.5, 9.0, 0.25, 0, 16)},
    )
    assert result.encode_time_ratio == pytest.approx((3.0 / 8) / (1.5 / 16))
    assert result.decode_time_ratio == pytest.approx((0.5 / 8) / (0.25 / 16))
    assert score({"a": 1.0}).encode_time_ratio is None
