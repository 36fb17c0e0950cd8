"""The adoption rules: the user's thresholds, exactly, and never a number that is none."""

import math
from dataclasses import replace

import pytest

from agents.judge import RuleJudge
from evocodec.domain.results import BdRate, ClipScore, Interval, RdCurve, Score, ScreenResult
from evocodec.rules.adoption import ChampionFacts, JudgeRequest, judge
from evocodec.rules.cost_limits import CostLimits
from tests.support.default_options import default_thresholds

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
    verdict = judge(request(score(bitrate_mbps)), default_thresholds())
    assert (verdict.adopt, verdict.rule) == (adopt, rule)
    assert verdict.compared_with == "HEVC (v0)"
    assert verdict.improvement_percent == pytest.approx(100 * (1 - bitrate_mbps / 10))
    assert f"{bitrate_mbps:.2f}" in verdict.reason


def test_a_chance_is_said_to_be_provisional() -> None:
    assert "provisional" in judge(request(score(12.0)), default_thresholds()).reason


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
    verdict = judge(request(score(bitrate_mbps, compression_ratio), CHAMPION), default_thresholds())
    assert (verdict.adopt, verdict.rule) == (adopt, rule)
    assert verdict.compared_with == "v3"
    assert verdict.improvement_percent == pytest.approx(100 - 10 * bitrate_mbps)


def test_the_reason_has_both_numbers_and_what_was_asked() -> None:
    reason = judge(request(score(9.5, 52.0), CHAMPION), default_thresholds()).reason
    assert reason == (
        "9.50 Mbit/s against 10.00 of v3: 5.00 % fewer bits; compression 52.00 against 50.00: "
        "4.00 % more; 10 % fewer bits or 20 % more compression are needed."
    )


def first(low: float, high: float, mean: float) -> Score:
    return replace(score(mean), bitrate_interval_mbps=Interval(low, high, 0.9, 3))


@pytest.mark.parametrize(
    ("mean", "high", "adopt", "rule"),
    [
        (8.0, 8.999999, True, "first_under_adopt"),
        (8.0, 9.0, True, "first_chance"),
        (8.0, 15.0, False, "uncertain"),
        (13.55, 14.999999, True, "first_chance"),
        (13.55, 15.0, False, "uncertain"),
        (16.0, 17.0, False, "not_enough"),
    ],
)
def test_a_first_version_needs_its_intervals_worse_end_under_the_line_too(
    mean: float, high: float, adopt: bool, rule: str
) -> None:
    verdict = judge(request(first(mean - 1, high, mean)), default_thresholds())
    assert (verdict.adopt, verdict.rule) == (adopt, rule)
    if rule != "not_enough":
        assert f"{mean - 1:.2f} to {high:.2f} at 90% confidence over 3 clips" in (verdict.reason)


def with_clips(measured: Score, bits: dict[str, float]) -> Score:
    clips = tuple(
        ClipScore(name, RdCurve("c", name, ()), BdRate(0, 0, 1), 38.0, 1.0, value, value, 1.0)
        for name, value in bits.items()
    )
    return replace(measured, clips=clips)


THREE = replace(CHAMPION, clip_bits={"a": 100.0, "b": 200.0, "c": 300.0})


@pytest.mark.parametrize(
    ("worst", "adopt", "rule"),
    [(99.999, True, "bitrate"), (100.0, False, "uncertain"), (104.0, False, "uncertain")],
)
def test_a_later_version_needs_a_gain_at_the_worse_end_over_clips(
    worst: float, adopt: bool, rule: str
) -> None:
    measured = with_clips(score(8.5), {"a": worst, "b": 160.0, "c": 250.0})
    verdict = judge(request(measured, THREE), default_thresholds())
    assert (verdict.adopt, verdict.rule) == (adopt, rule)
    assert "to 20.00 % fewer at 90% confidence over 3 clips" in verdict.reason
    assert verdict.improvement_percent == pytest.approx(15.0)


def test_more_compression_from_one_clip_alone_is_uncertain() -> None:
    measured = with_clips(score(9.9, 65.0), {"a": 120.0, "b": 210.0, "c": 150.0})
    verdict = judge(request(measured, THREE), default_thresholds())
    assert (verdict.adopt, verdict.rule) == (False, "uncertain")
    assert "20.00 % more bits to 50.00 % fewer" in verdict.reason


def test_many_clips_may_lose_one_and_still_win() -> None:
    names = [f"clip{n}" for n in range(8)]
    champion = replace(CHAMPION, clip_bits=dict.fromkeys(names, 100.0))
    bits = {name: 80.0 + n for n, name in enumerate(names)} | {"clip0": 101.0}
    assert judge(request(with_clips(score(8.5), bits), champion), default_thresholds()).adopt
    wide = judge(
        request(with_clips(score(8.5), bits), champion), default_thresholds(confidence=0.9999)
    )
    assert wide.rule == "uncertain"


def test_one_clip_asks_for_no_interval_and_says_so() -> None:
    champion = replace(CHAMPION, clip_bits={"a": 100.0})
    verdict = judge(request(with_clips(score(8.0), {"a": 80.0}), champion), default_thresholds())
    assert verdict.adopt
    assert "One clip gives no interval" in verdict.reason
    assert "One clip gives no interval" in judge(request(score(8.0)), default_thresholds()).reason


FREE = default_thresholds().limits


@pytest.mark.parametrize("champion", [None, CHAMPION])
@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (
            replace(FREE, min_encode_fps=2.5),
            "encodes 2.00 frames/s, 0.50 fewer than the 2.5 of limits.min_encode_fps",
        ),
        (
            replace(FREE, min_decode_fps=30),
            "decodes 20.00 frames/s, 10.00 fewer than the 30 of limits.min_decode_fps",
        ),
        (
            replace(FREE, max_memory_bytes=100 << 20),
            "needs 300.0 MiB, 200.0 more than the 100 of limits.max_memory_mib",
        ),
        (
            replace(FREE, max_program_bytes=8 << 10),
            "weighs 10.0 KiB, 2.0 more than the 8 of limits.max_program_kib",
        ),
    ],
)
def test_a_candidate_beyond_a_limit_is_not_adopted_however_good(
    limits: CostLimits, told: str, champion: ChampionFacts | None
) -> None:
    good = replace(
        score(5.0, 100.0),
        encode_fps=2.0,
        decode_fps=20.0,
        peak_memory_bytes=300 * 2**20,
        packed_program_bytes=10 * 2**10,
    )
    assert judge(request(good, champion), default_thresholds()).adopt
    verdict = judge(request(good, champion), default_thresholds(limits=limits))
    assert (verdict.adopt, verdict.rule) == (False, "limits")
    assert told in verdict.reason


def test_exactly_at_a_limit_is_within_it() -> None:
    limits = CostLimits(
        min_encode_fps=1.0, min_decode_fps=1.0, max_memory_bytes=1, max_program_bytes=1
    )
    at = replace(score(5.0), packed_program_bytes=1)
    assert judge(request(at), default_thresholds(limits=limits)).adopt


@pytest.mark.parametrize("champion", [None, CHAMPION])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_what_is_no_number_is_never_adopted(champion: ChampionFacts | None, bad: float) -> None:
    good = score(5.0, 100.0)
    for broken in (replace(good, bitrate_mbps=bad), replace(good, compression_ratio=bad)):
        verdict = judge(request(broken, champion), default_thresholds())
        assert (verdict.adopt, verdict.rule) == (False, "failed")
        assert verdict.improvement_percent is None
        assert verdict.bitrate_mbps is None


def test_a_candidate_that_was_screened_out_is_rejected_with_the_screens_reason() -> None:
    screened = ScreenResult(1.02, {"city": 1.02}, "c0003", passed=False, reason="2 % more bits")
    verdict = judge(request(None, CHAMPION, screened), default_thresholds())
    assert (verdict.adopt, verdict.rule, verdict.reason) == (False, "screen", "2 % more bits")


def test_a_candidate_without_a_score_is_rejected() -> None:
    verdict = judge(request(None, CHAMPION), default_thresholds())
    assert (verdict.adopt, verdict.rule) == (False, "failed")


def test_thresholds_are_settings() -> None:
    strict = default_thresholds(bitrate_gain_percent=25.0, compression_gain_percent=50.0)
    assert not RuleJudge(strict).judge(request(score(8.0), CHAMPION)).adopt
    assert RuleJudge(strict).judge(request(score(7.5), CHAMPION)).adopt


def test_a_champion_without_numbers_is_a_bug_and_not_a_verdict() -> None:
    with pytest.raises(ValueError, match="v3 has no usable numbers"):
        judge(request(score(5.0), ChampionFacts("v3", math.nan, 1.0)), default_thresholds())
