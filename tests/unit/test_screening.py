"""The screen drops what could not win, and learns how far its estimates miss."""

import math
import random
from dataclasses import replace

import pytest

from evocodec.curves.rd_curve import make_curve
from evocodec.domain.events import Evaluated, Event, Screened
from evocodec.domain.results import Quality, RatePoint, RdCurve, Score, ScreenResult
from evocodec.evaluation.screening import (
    PRIOR_DEVIATION,
    PRIOR_MEAN,
    PRIOR_PAIRS,
    AdoptionTarget,
    ErrorModel,
    ScreenErrors,
    first_target,
    later_target,
    screen,
)
from tests.support.default_options import default_thresholds


def point(clip: str, bits: float, psnr_y_db: float) -> RatePoint:
    quality = Quality(psnr_y_db, psnr_y_db, psnr_y_db, psnr_y_db, None, psnr_y_db)
    return RatePoint(clip, 30.0, round(bits), 8, quality)


def hevc(clip: str) -> RdCurve:
    """3 dB a doubling."""
    steps = (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)
    return make_curve("x265-medium", clip, [point(clip, 40000 * 2**k, 36 + 3 * k) for k in steps])


EXACT = ErrorModel(mean=0.0, deviation=1e-9, pairs=50)
TEN = ErrorModel(mean=math.log(0.9), deviation=1e-9, pairs=50)
"""Full evaluations find a tenth less than the screen."""

TENTH_OR_FIFTH = AdoptionTarget(rate_ratio=0.9, compression=1.2)


def screened(
    bits: float, psnr: float = 36.0, keep_below: float = 0.0, errors: ErrorModel = EXACT
) -> ScreenResult:
    return screen(
        reference={"a": point("a", 40000, 36.0)},
        candidate={"a": point("a", bits, psnr)},
        anchors={"a": hevc("a")},
        reference_id="c0003",
        keep_below=keep_below,
        errors=errors,
        line=TENTH_OR_FIFTH,
        confidence=0.9,
    )


def test_at_equal_quality_it_is_the_plain_ratio() -> None:
    result = screened(41240)
    assert result.rate_ratio == pytest.approx(1.031)
    assert not result.passed
    assert result.reason == (
        "estimated 3.1 % more bits than c0003 on 8 frames, at best 3.1 % more bits, which would "
        "not be adopted"
    )


def test_it_slides_along_the_anchors_slope() -> None:
    assert screened(80000, 39.0).rate_ratio == pytest.approx(1.0, rel=1e-3)
    assert screened(40000, 39.0).rate_ratio == pytest.approx(0.5, rel=1e-3)


def test_what_could_win_at_the_optimistic_end_goes_on() -> None:
    result = screened(39600, errors=TEN)
    assert result.passed
    assert result.optimistic_rate_ratio == pytest.approx(0.891)
    assert result.reason == (
        "estimated 1.0 % fewer bits than c0003 on 8 frames, at best 10.9 % fewer bits: worth a "
        "full evaluation"
    )
    assert screened(40000, errors=TEN).passed
    assert not screened(40040, errors=TEN).passed


def test_what_the_settings_want_measured_goes_on_as_well() -> None:
    assert not screened(38000).passed
    assert screened(38000, keep_below=0.95).passed


def test_very_different_qualities_are_not_judged() -> None:
    result = screened(400000, 40.5)
    assert result.passed
    assert "4.5 dB away from c0003 on a" in result.reason
    assert not screened(400000, 39.9).passed


def test_clips_are_joined_by_the_geometric_mean() -> None:
    result = screen(
        reference={"a": point("a", 40000, 36.0), "b": point("b", 40000, 36.0)},
        candidate={"a": point("a", 20000, 36.0), "b": point("b", 60000, 36.0)},
        anchors={"a": hevc("a"), "b": hevc("b")},
        reference_id="c0003",
        keep_below=0.0,
        line=TENTH_OR_FIFTH,
        confidence=0.9,
    )
    assert result.rate_ratio == pytest.approx(math.sqrt(0.5 * 1.5))
    assert result.per_clip == pytest.approx({"a": 0.5, "b": 1.5})


def test_more_compression_wins_too_where_one_clip_has_most_of_the_bits() -> None:
    result = screen(
        reference={"a": point("a", 80000, 36.0), "b": point("b", 4000, 36.0)},
        candidate={"a": point("a", 60000, 36.0), "b": point("b", 5200, 36.0)},
        anchors={"a": hevc("a"), "b": hevc("b")},
        reference_id="c0003",
        keep_below=0.0,
        errors=EXACT,
        line=TENTH_OR_FIFTH,
        confidence=0.9,
    )
    assert result.rate_ratio > 0.95
    assert result.passed


def test_other_lengths_or_clips_are_a_mistake_of_the_caller() -> None:
    reference = {"a": point("a", 40000, 36.0)}
    for candidate in ({"b": reference["a"]}, {"a": replace(reference["a"], frames=3)}):
        with pytest.raises(ValueError, match=r"differ|frames"):
            screen(
                reference=reference,
                candidate=candidate,
                anchors={"a": hevc("a")},
                reference_id="c0003",
                keep_below=0.0,
                line=TENTH_OR_FIFTH,
                confidence=0.9,
            )


def score(bitrate_mbps: float) -> Score:
    return Score(bitrate_mbps, 50.0, 0.0, "a", 1.0, 1.0, 1.0, 1, 1, ())


def test_without_a_version_the_line_is_that_of_a_first_one() -> None:
    assert first_target(
        score(20.0), default_thresholds(chance_first_below_mbps=15.0)
    ) == AdoptionTarget(0.75, math.inf)


def test_against_a_version_the_line_is_either_gain() -> None:
    thresholds = default_thresholds(bitrate_gain_percent=10.0, compression_gain_percent=20.0)
    assert later_target(thresholds) == AdoptionTarget(0.9, 1.2)


def pair(name: str, ratio: float, bitrate_mbps: float, reference: str = "c0001") -> list[Event]:
    result = ScreenResult(ratio, {}, reference, passed=True, reason="")
    return [
        Screened(run_id="r", at="", candidate_id=name, attempt=0, result=result),
        Evaluated(run_id="r", at="", candidate_id=name, attempt=0, score=score(bitrate_mbps)),
    ]


def learnt(events: list[Event]) -> ErrorModel:
    errors = ScreenErrors()
    for event in events:
        errors.observe(event)
    return errors.model()


BASE = Evaluated(run_id="r", at="", candidate_id="c0001", attempt=0, score=score(13.0))
PAIRS = [event for n in range(9) for event in pair(f"c1{n}", 0.9, 13.0 * (0.6 + n / 50))]


def test_a_run_without_pairs_knows_the_prior() -> None:
    model = learnt([BASE])
    assert (model.mean, model.pairs) == (pytest.approx(PRIOR_MEAN), PRIOR_PAIRS)
    assert model.deviation == pytest.approx(PRIOR_DEVIATION)
    assert 0.94 < math.exp(model.lowest(0.9)) < 0.95


def test_misses_make_it_more_careful_and_hits_less_so() -> None:
    hits = [e for n in range(40) for e in pair(f"c1{n}", 0.9, 13.0 * 0.9)]
    prior = learnt([BASE]).lowest(0.9)
    assert learnt([BASE, *PAIRS]).lowest(0.9) < prior - 0.05
    assert learnt([BASE, *hits]).lowest(0.9) > prior


def test_it_learns_the_same_in_any_order_and_from_events_told_twice() -> None:
    events = [BASE, *PAIRS]
    shuffled = [*events, *events]
    random.Random(3).shuffle(shuffled)
    assert learnt(shuffled) == learnt(events)


def test_pairs_without_a_measured_reference_teach_nothing() -> None:
    assert learnt([BASE, *pair("c2", 0.9, 5.0, reference="c0077")]) == learnt([BASE])


def test_more_confidence_is_more_careful() -> None:
    model = ErrorModel()
    assert model.lowest(0.99) < model.lowest(0.9) < model.lowest(0.6) < 0
