"""What the held-out gate asks for, at its boundaries."""

from dataclasses import replace

import pytest

from evocodec.config import Settings
from evocodec.curves.gain import Gain, gain_over
from evocodec.domain.candidate import Verdict
from evocodec.domain.results import HeldOutResult, Interval, proven_percent
from evocodec.domain.vocabulary import VerdictRule
from evocodec.rules.held_out import (
    BROKEN_MESSAGE,
    FAILED_MESSAGE,
    FIRST_PASSED_MESSAGE,
    PASSED_MESSAGE,
    UNCOMPARED_MESSAGE,
    UNSTABLE_MESSAGE,
    HeldOutLimits,
    HeldOutMeasurement,
    apply_gate,
    decide_held_out,
    development_gain_percent,
    is_inconclusive,
    public_outcome,
)
from tests.support.default_options import default_thresholds

TERMS = HeldOutLimits(0.5, 15.0, default_thresholds())
LATER = Verdict(True, VerdictRule.BITRATE, "12 % fewer bits.", "v1", 12.0, 8.0, 40.0)


def first(rule: VerdictRule, bitrate_mbps: float) -> Verdict:
    gain = 100 * (1 - bitrate_mbps / 10)
    return Verdict(True, rule, "under the line.", "HEVC (v0)", gain, bitrate_mbps, 40.0)


def measured(
    mean: float | None, *, total: float | None = None, broken: str = ""
) -> HeldOutMeasurement:
    gain = None if mean is None else Gain(mean, mean if total is None else total, (1 - mean / 100,))
    return HeldOutMeasurement(gain, Interval(-1.0, 5.0, 0.9, 2), 2, "5eed" * 16, broken)


def decide(
    verdict: Verdict, measurement: HeldOutMeasurement, *, min_retained_share: float = 0.5
) -> HeldOutResult:
    development = development_gain_percent(verdict, 32.0)
    return decide_held_out(
        verdict,
        development,
        measurement,
        HeldOutLimits(min_retained_share, 15.0, default_thresholds()),
    )


@pytest.mark.parametrize(
    ("gain", "min_retained_share", "passed"),
    [
        (12.0, 0.5, True),
        (6.0, 0.5, True),
        (5.99, 0.5, False),
        (0.01, 0.0, True),
        (0.0, 0.0, False),
        (-3.0, 0.0, False),
        (11.9, 1.0, False),
    ],
)
def test_a_later_version_keeps_its_share_and_gains_something(
    gain: float, min_retained_share: float, *, passed: bool
) -> None:
    result = decide(LATER, measured(gain), min_retained_share=min_retained_share)
    assert result.passed is passed
    verdict = apply_gate(LATER, result)
    assert verdict.adopt is passed
    assert verdict.rule == (VerdictRule.BITRATE if passed else "overfitted")
    assert (result.development_gain_percent, result.held_out_gain_percent) == (12.0, gain)


def test_an_overfitted_verdict_has_both_numbers_and_a_passed_one_has_none() -> None:
    failed = apply_gate(LATER, decide(LATER, measured(1.25)))
    assert "+1.25 %" in failed.reason
    assert "+12.00 %" in failed.reason
    passed = apply_gate(LATER, decide(LATER, measured(8.75)))
    assert passed.reason == f"{LATER.reason} {PASSED_MESSAGE}"


@pytest.mark.parametrize(
    ("rule", "development", "held_out_gain", "passed"),
    [
        (VerdictRule.FIRST_CHANCE, 13.5, -49.99, True),
        (VerdictRule.FIRST_CHANCE, 13.5, -50.0, False),
        (VerdictRule.FIRST_UNDER_ADOPT, 8.0, 10.01, True),
        (VerdictRule.FIRST_UNDER_ADOPT, 8.0, 10.0, False),
    ],
)
def test_a_first_version_stays_under_the_line_of_its_clause(
    rule: VerdictRule, development: float, held_out_gain: float, *, passed: bool
) -> None:
    assert decide(first(rule, development), measured(held_out_gain)).passed is passed


def test_a_gain_in_compression_has_to_survive_as_such() -> None:
    verdict = Verdict(True, VerdictRule.COMPRESSION, "25 % more.", "v1", 2.0, 9.8, 40.0)
    assert development_gain_percent(verdict, 32.0) == pytest.approx(20.0)
    assert decide(verdict, measured(1.0, total=10.0)).passed
    assert not decide(verdict, measured(19.0, total=9.9)).passed


def test_a_program_that_breaks_has_no_number_and_agents_are_not_told_how() -> None:
    result = decide(LATER, measured(None, broken="exception: ValueError 118x102"))
    assert not result.passed
    assert result.held_out_gain_percent is None
    assert "118x102" in apply_gate(LATER, result).reason
    assert public_outcome(result) == BROKEN_MESSAGE


def test_agents_are_told_pass_or_fail_and_no_number() -> None:
    assert public_outcome(decide(LATER, measured(8.0))) == PASSED_MESSAGE
    assert public_outcome(decide(LATER, measured(1.0))) == FAILED_MESSAGE


def test_a_candidate_passes_where_only_the_version_to_beat_fails_on_every_clip() -> None:
    measurement = HeldOutMeasurement(None, None, 0, "5eed" * 16, left_out=2)
    result = decide(LATER, measurement)
    assert result.passed
    assert "itself fails on all 2" in result.reason


def test_gains_are_means_of_ratios_and_sums_of_bits() -> None:
    gain = gain_over({"a": 100.0, "b": 400.0}, {"a": 50.0, "b": 400.0})
    assert gain.mean_percent == pytest.approx(100 * (1 - 0.5**0.5))
    assert gain.total_percent == pytest.approx(10.0)
    with pytest.raises(ValueError, match="clips differ"):
        gain_over({"a": 1.0}, {"b": 1.0})


@pytest.mark.parametrize(
    ("low", "high", "is_open"),
    [(5.9, 20.0, True), (6.0, 20.0, False), (-9.0, 6.0, True), (-9.0, 5.9, False)],
)
def test_more_clips_are_worth_drawing_while_what_is_needed_lies_within_the_interval(
    low: float, high: float, *, is_open: bool
) -> None:
    gain = Gain((low + high) / 2, 0.0, (0.9, 0.95))
    measurement = HeldOutMeasurement(gain, Interval(low, high, 0.9, 2), 2, "5eed" * 16)
    assert is_inconclusive(LATER, 12.0, measurement, TERMS) is is_open
    moved = HeldOutMeasurement(
        replace(gain, total_percent=gain.mean_percent + 1),
        Interval(low - 1, high - 1, 0.9, 2),
        2,
        "",
    )
    by_total = replace(LATER, rule=VerdictRule.COMPRESSION)
    assert is_inconclusive(by_total, 12.0, moved, TERMS) is is_open


def test_a_first_version_is_left_open_around_its_line() -> None:
    def is_open(low: float, high: float) -> bool:
        gain = Gain((low + high) / 2, 0.0, (1.4, 1.5))
        measurement = HeldOutMeasurement(gain, Interval(low, high, 0.9, 2), 2, "")
        verdict = first(VerdictRule.FIRST_CHANCE, 13.5)
        return is_inconclusive(verdict, -35.0, measurement, TERMS)

    assert is_open(-51.0, -30.0)
    assert not is_open(-49.0, -30.0)
    assert not is_open(-70.0, -51.0)


def test_nothing_is_left_open_without_an_interval_or_with_a_broken_program() -> None:
    one = HeldOutMeasurement(Gain(1.0, 1.0, (0.99,)), None, 1, "")
    broken = measured(None, broken="exception: ValueError")
    unbeaten = HeldOutMeasurement(None, None, 0, "", left_out=3)
    for measurement in (one, broken, unbeaten):
        assert not is_inconclusive(LATER, 12.0, measurement, TERMS)


def test_two_decodes_that_differ_are_no_overfitting_but_a_failure_of_their_own() -> None:
    differs = replace(measured(None, broken="held-7 differs"), nondeterministic=True)
    result = decide(LATER, differs)
    assert apply_gate(LATER, result).rule is VerdictRule.NONDETERMINISTIC
    assert "held-7 differs" in result.reason
    assert public_outcome(result) == UNSTABLE_MESSAGE


def excess(percent: float, *, spread: float = 2.0, mean: float = -30.0) -> HeldOutMeasurement:
    """A measurement of a program that needs so many per cent more bits than it promised."""
    around = Interval(percent - spread, percent + spread, 0.9, 3)
    return replace(
        measured(mean),
        bitrate_mbps=12.36,
        excess_percent=percent,
        excess_interval_percent=around,
    )


@pytest.mark.parametrize(("percent", "passed"), [(-8.0, True), (15.0, True), (15.1, False)])
def test_a_first_version_keeps_its_promise_on_held_out_clips(
    percent: float, *, passed: bool
) -> None:
    verdict = first(VerdictRule.FIRST_CHANCE, 9.62)
    result = decide(verdict, excess(percent))
    assert result.passed is passed
    gated = apply_gate(verdict, result)
    assert gated.rule is (VerdictRule.FIRST_CHANCE if passed else VerdictRule.OVERFITTED)
    assert (FIRST_PASSED_MESSAGE in gated.reason) is passed
    assert (result.bitrate_mbps, result.development_bitrate_mbps) == (12.36, 9.62)
    if not passed:
        assert "12.36 Mbit/s on 2 held-out clips against 9.62" in gated.reason
        assert "held on" not in gated.reason


def test_a_later_version_keeps_its_promise_even_where_its_gain_is_large() -> None:
    assert decide(LATER, excess(14.0, mean=12.0)).passed
    assert not decide(LATER, excess(16.0, mean=12.0)).passed


def test_more_clips_are_drawn_while_the_promise_is_in_doubt() -> None:
    verdict = first(VerdictRule.FIRST_CHANCE, 12.0)
    assert is_inconclusive(verdict, -20.0, excess(14.0), TERMS)
    assert is_inconclusive(verdict, -20.0, excess(16.0), TERMS)
    assert not is_inconclusive(verdict, -20.0, excess(5.0), TERMS)


def test_memory_cannot_make_much_of_a_true_gain() -> None:
    """By default: a tenth that is true may be shown as 12.5 %, and no more."""
    keep = Settings().held_out.keep
    shown = replace(LATER, improvement_percent=12.5)
    assert decide(shown, measured(10.0), min_retained_share=keep).passed
    doubled = replace(LATER, improvement_percent=20.0)
    assert not decide(doubled, measured(10.0), min_retained_share=keep).passed


def test_the_smaller_gain_is_the_one_to_record() -> None:
    result = decide(LATER, measured(9.5))
    assert proven_percent(12.0, result) == 9.5
    assert proven_percent(12.0, decide(LATER, measured(14.0))) == 12.0
    assert proven_percent(12.0, decide(LATER, measured(1.0))) == 12.0  # refused: nothing to prove
    assert proven_percent(12.0, None) == 12.0


def test_a_gain_that_could_not_be_compared_is_not_said_to_have_held() -> None:
    result = decide(LATER, HeldOutMeasurement(None, None, 0, "5eed" * 16, left_out=2))
    reason = apply_gate(LATER, result).reason
    assert UNCOMPARED_MESSAGE in reason
    assert PASSED_MESSAGE not in reason
