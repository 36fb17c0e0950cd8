"""The adoption rules: the user's thresholds, exactly, and never a number that is none."""

import math
from dataclasses import replace

import pytest

from agents.judge import RuleJudge, Thresholds, judge
from agents.requests import ChampionFacts, JudgeRequest
from evocodec.domain.results import Score, ScreenResult

CHAMPION = ChampionFacts("v3", bitrate_mbps=10.0, compression_ratio=50.0)


def score(bitrate_mbps: float, compression_ratio: float = 50.0) -> Score:
    return Score(
        bitrate_mbps=bitrate_mbps,
        compression_ratio=compression_ratio,
        bd_rate_percent=0.0,
        worst_clip="city",
        worst_clip_ratio=1.0,
        encode_fps=1.0,
        decode_fps=1.0,
        peak_memory_bytes=1,
        program_bytes=1,
        clips=(),
    )


def request(
    measured: Score | None,
    champion: ChampionFacts | None = None,
    screen: ScreenResult | None = None,
) -> JudgeRequest:
    return JudgeRequest("run", "c0007", measured, screen, champion)


@pytest.mark.parametrize(
    ("bitrate_mbps", "adopt", "rule"),
    [
        (5.0, True, "first_under_adopt"),
        (8.999999, True, "first_under_adopt"),
        (9.0, True, "first_chance"),
        (10.0, True, "first_chance"),
        (14.999999, True, "first_chance"),
        (15.0, False, "not_enough"),
        (40.0, False, "not_enough"),
    ],
)
def test_the_first_version_is_compared_with_hevc(
    bitrate_mbps: float, adopt: bool, rule: str
) -> None:
    verdict = judge(request(score(bitrate_mbps)), Thresholds())
    assert (verdict.adopt, verdict.rule) == (adopt, rule)
    assert verdict.compared_with == "HEVC (v0)"
    assert verdict.improvement_percent == pytest.approx(100 * (1 - bitrate_mbps / 10))
    assert f"{bitrate_mbps:.2f}" in verdict.reason


def test_a_chance_is_said_to_be_provisional() -> None:
    assert "provisional" in judge(request(score(12.0)), Thresholds()).reason


@pytest.mark.parametrize(
    ("bitrate_mbps", "compression_ratio", "adopt", "rule"),
    [
        (9.0, 50.0, True, "bitrate"),
        (9.0 + 1e-11, 50.0, True, "bitrate"),
        (9.001, 50.0, False, "not_enough"),
        (7.0, 50.0, True, "bitrate"),
        (10.0, 60.0, True, "compression"),
        (10.0, 59.99, False, "not_enough"),
        (12.0, 60.0, True, "compression"),
        (9.0, 60.0, True, "bitrate"),
        (10.0, 50.0, False, "not_enough"),
        (11.0, 45.0, False, "not_enough"),
    ],
)
def test_later_versions_need_ten_percent_fewer_bits_or_twenty_percent_more_compression(
    bitrate_mbps: float, compression_ratio: float, adopt: bool, rule: str
) -> None:
    verdict = judge(request(score(bitrate_mbps, compression_ratio), CHAMPION), Thresholds())
    assert (verdict.adopt, verdict.rule) == (adopt, rule)
    assert verdict.compared_with == "v3"
    assert verdict.improvement_percent == pytest.approx(100 - 10 * bitrate_mbps)


def test_the_reason_has_both_numbers_and_what_was_asked() -> None:
    reason = judge(request(score(9.5, 52.0), CHAMPION), Thresholds()).reason
    assert reason == (
        "9.50 Mbit/s against 10.00 of v3: 5.00 % fewer bits; compression 52.00 against 50.00: "
        "4.00 % more; 10 % fewer bits or 20 % more compression are needed."
    )


@pytest.mark.parametrize("champion", [None, CHAMPION])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_what_is_no_number_is_never_adopted(champion: ChampionFacts | None, bad: float) -> None:
    good = score(5.0, 100.0)
    for broken in (replace(good, bitrate_mbps=bad), replace(good, compression_ratio=bad)):
        verdict = judge(request(broken, champion), Thresholds())
        assert (verdict.adopt, verdict.rule) == (False, "failed")
        assert verdict.improvement_percent is None
        assert verdict.bitrate_mbps is None


def test_a_candidate_that_was_screened_out_is_rejected_with_the_screens_reason() -> None:
    screened = ScreenResult(1.02, {"city": 1.02}, "c0003", passed=False, reason="2 % more bits")
    verdict = judge(request(None, CHAMPION, screened), Thresholds())
    assert (verdict.adopt, verdict.rule, verdict.reason) == (False, "screen", "2 % more bits")


def test_a_candidate_without_a_score_is_rejected() -> None:
    verdict = judge(request(None, CHAMPION), Thresholds())
    assert (verdict.adopt, verdict.rule) == (False, "failed")


def test_thresholds_are_settings() -> None:
    strict = Thresholds(bitrate_gain_percent=25.0, compression_gain_percent=50.0)
    assert not RuleJudge(strict).judge(request(score(8.0), CHAMPION)).adopt
    assert RuleJudge(strict).judge(request(score(7.5), CHAMPION)).adopt


def test_a_champion_without_numbers_is_a_bug_and_not_a_verdict() -> None:
    with pytest.raises(ValueError, match="v3 has no usable numbers"):
        judge(request(score(5.0), ChampionFacts("v3", math.nan, 1.0)), Thresholds())
