"""The numbers that decide, by hand-computed cases."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import Cost, Quality, RatePoint, RdCurve, Score, ScreenResult
from evocodec.domain.video import StreamInfo
from evocodec.evaluation.anchors import (
    OPERATING_BITS_PER_SAMPLE,
    operating_bits,
    operating_quality_db,
)
from evocodec.evaluation.curves import make_curve
from evocodec.evaluation.scoring import score_candidate, screen

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
        )
    assert failure.value.kind is FailureKind.QUALITY


def test_curves_of_other_clips_or_lengths_are_a_mistake_of_the_caller() -> None:
    anchor = hevc("a")
    arguments = {
        "streams": {"a": STREAM},
        "anchors": {"a": anchor},
        "operating_db": {"a": 36.0},
        "program_bytes": 1,
    }
    with pytest.raises(ValueError, match="clips differ"):
        score_candidate(curves={"b": anchor}, **arguments)  # type: ignore[arg-type]
    short = replace(anchor, points=tuple(replace(p, frames=4) for p in anchor.points))
    with pytest.raises(ValueError, match="frames"):
        score_candidate(curves={"a": short}, **arguments)  # type: ignore[arg-type]


def screened(bits: float, psnr: float, keep_below: float = 0.95) -> ScreenResult:
    return screen(
        reference={"a": point("a", 40000, 36.0)},
        candidate={"a": point("a", bits, psnr)},
        anchors={"a": hevc("a")},
        reference_id="c0003",
        keep_below=keep_below,
    )


def test_screen_at_equal_quality_is_the_plain_ratio() -> None:
    result = screened(41240, 36.0)
    assert result.rate_ratio == pytest.approx(1.031)
    assert not result.passed
    assert result.reason == (
        "estimated 3.1 % more bits than c0003 on 8 frames; a candidate must save at least 5 % "
        "to be worth a full evaluation"
    )


def test_screen_slides_along_the_anchors_slope() -> None:
    result = screened(80000, 39.0)
    assert result.rate_ratio == pytest.approx(1.0, rel=1e-3)
    assert screened(40000, 39.0).rate_ratio == pytest.approx(0.5, rel=1e-3)


def test_screen_passes_what_saves_enough() -> None:
    result = screened(36000, 36.0)
    assert result.passed
    assert result.reason == (
        "estimated 10.0 % fewer bits than c0003 on 8 frames: worth a full evaluation"
    )


def test_screen_may_let_slightly_worse_ones_through() -> None:
    assert screened(40400, 36.0, keep_below=1.02).passed
    refused = screened(42000, 36.0, keep_below=1.02)
    assert "may need at most 2 % more" in refused.reason


def test_screen_does_not_judge_very_different_qualities() -> None:
    result = screened(400000, 40.5)
    assert result.passed
    assert "4.5 dB away from c0003 on a" in result.reason
    assert not screened(400000, 39.9).passed


def test_screen_joins_clips_by_the_geometric_mean() -> None:
    result = screen(
        reference={"a": point("a", 40000, 36.0), "b": point("b", 40000, 36.0)},
        candidate={"a": point("a", 20000, 36.0), "b": point("b", 60000, 36.0)},
        anchors={"a": hevc("a"), "b": hevc("b")},
        reference_id="c0003",
        keep_below=0.95,
    )
    assert result.rate_ratio == pytest.approx(math.sqrt(0.5 * 1.5))
    assert result.per_clip == pytest.approx({"a": 0.5, "b": 1.5})


def test_screen_refuses_to_compare_other_lengths_or_clips() -> None:
    reference = {"a": point("a", 40000, 36.0)}
    for candidate in ({"b": reference["a"]}, {"a": replace(reference["a"], frames=3)}):
        with pytest.raises(ValueError, match=r"differ|frames"):
            screen(
                reference=reference,
                candidate=candidate,
                anchors={"a": hevc("a")},
                reference_id="c0003",
                keep_below=0.95,
            )
