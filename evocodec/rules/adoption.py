"""Adoption rules: whether a measured candidate becomes a version."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from evocodec.curves.confidence import gain_interval
from evocodec.domain.candidate import Verdict
from evocodec.domain.results import (
    HEVC_BITRATE_MBPS,
    Interval,
    Score,
    ScreenResult,
)
from evocodec.domain.vocabulary import VerdictRule
from evocodec.rules.cost_limits import CostLimits, broken_limits


@dataclass(frozen=True, slots=True)
class ChampionFacts:
    """The version to beat: its label (``v3``), its two numbers, and its bits clip by clip.

    ``clip_bits`` are bits at the operating quality; empty where they are not known.
    """

    version: str
    bitrate_mbps: float
    compression_ratio: float
    clip_bits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """Input of a verdict; without a champion the comparison is with HEVC."""

    run_id: str
    candidate_id: str
    score: Score | None
    screen: ScreenResult | None
    champion: ChampionFacts | None


HEVC_LABEL = "HEVC (v0)"


_TOLERANCE = 1e-9


_ONE_CLIP = " One clip gives no interval, so none was asked for."


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Thresholds of the adoption rules; bitrates are strict upper bounds, gains are minima.

    ``confidence`` is the level of the interval over clips whose worse end must be on the right
    side as well; ``limits`` is what an adopted program may cost.
    """

    adopt_first_below_mbps: float
    chance_first_below_mbps: float
    bitrate_gain_percent: float
    compression_gain_percent: float
    confidence: float
    limits: CostLimits


def judge(request: JudgeRequest, thresholds: Thresholds) -> Verdict:
    """Return the verdict on these numbers; a pure function."""
    champion = request.champion
    against = champion.version if champion else HEVC_LABEL
    score = request.score
    if score is None:
        if request.screen is not None and not request.screen.passed:
            return Verdict(adopt=False, rule=VerdictRule.SCREEN, reason=request.screen.reason,
                           compared_with=against)  # fmt: skip
        return Verdict(adopt=False, rule=VerdictRule.FAILED, compared_with=against,
                       reason="There is no full evaluation to judge.")  # fmt: skip
    if not (_usable(score.bitrate_mbps) and _usable(score.compression_ratio)):
        return Verdict(
            adopt=False,
            rule=VerdictRule.FAILED,
            reason=f"The score is not a number that can be compared: bitrate_mbps = "
            f"{score.bitrate_mbps}, compression_ratio = {score.compression_ratio}.",
            compared_with=against,
        )
    if champion is None:
        verdict = _judge_first(score, thresholds)
    else:
        verdict = _judge_later(score, champion, thresholds)
    return _within_limits(verdict, score, thresholds.limits)


def _within_limits(verdict: Verdict, score: Score, limits: CostLimits) -> Verdict:
    broken = broken_limits(score, limits)
    if not broken:
        return verdict
    reason = f"It {'; it '.join(broken)}. {verdict.reason}"
    return replace(verdict, adopt=False, rule=VerdictRule.LIMITS, reason=reason)


def _usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _judge_first(score: Score, limits: Thresholds) -> Verdict:
    bitrate = score.bitrate_mbps
    interval = score.bitrate_interval_mbps
    worst = bitrate if interval is None else max(bitrate, interval.high)
    adopt_line, chance_line = limits.adopt_first_below_mbps, limits.chance_first_below_mbps
    if worst < adopt_line:
        adopt, rule = True, VerdictRule.FIRST_UNDER_ADOPT
        needed = f"the first version is adopted below {adopt_line:g}"
    elif worst < chance_line:
        adopt, rule = True, VerdictRule.FIRST_CHANCE
        needed = (
            f"it is not under {adopt_line:g}, but under {chance_line:g}: adopted as a chance, "
            "provisional until a version beats it"
        )
    elif bitrate < chance_line:
        adopt, rule = False, VerdictRule.UNCERTAIN
        needed = f"the worse end is not under {chance_line:g}, as a first version's must be"
    else:
        adopt, rule = False, VerdictRule.NOT_ENOUGH
        needed = f"a first version needs fewer than {chance_line:g}"
    return Verdict(
        adopt=adopt,
        rule=rule,
        reason=f"{bitrate:.2f} Mbit/s against HEVC's {HEVC_BITRATE_MBPS:.2f} Mbit/s at equal "
        f"quality{_bitrate_span(interval)}; {needed}.{'' if interval else _ONE_CLIP}",
        compared_with=HEVC_LABEL,
        improvement_percent=100.0 * (1.0 - bitrate / HEVC_BITRATE_MBPS),
        bitrate_mbps=bitrate,
        compression_ratio=score.compression_ratio,
    )


def _bitrate_span(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return (
        f", {interval.low:.2f} to {interval.high:.2f} at {interval.level:.0%} confidence over "
        f"{interval.clips} clips"
    )


def _judge_later(score: Score, champion: ChampionFacts, limits: Thresholds) -> Verdict:
    if not (_usable(champion.bitrate_mbps) and _usable(champion.compression_ratio)):
        raise ValueError(f"{champion.version} has no usable numbers to compare with: {champion}")
    fewer_bits = 100.0 * (1.0 - score.bitrate_mbps / champion.bitrate_mbps)
    more_compression = 100.0 * (score.compression_ratio / champion.compression_ratio - 1.0)
    label = champion.version
    if fewer_bits >= limits.bitrate_gain_percent - _TOLERANCE:
        adopt, rule = True, VerdictRule.BITRATE
        needed = f"at least {limits.bitrate_gain_percent:g} % fewer bits are asked"
    elif more_compression >= limits.compression_gain_percent - _TOLERANCE:
        adopt, rule = True, VerdictRule.COMPRESSION
        needed = f"at least {limits.compression_gain_percent:g} % more compression is asked"
    else:
        adopt, rule = False, VerdictRule.NOT_ENOUGH
        needed = (
            f"{limits.bitrate_gain_percent:g} % fewer bits or "
            f"{limits.compression_gain_percent:g} % more compression are needed"
        )
    reason = (
        f"{score.bitrate_mbps:.2f} Mbit/s against {champion.bitrate_mbps:.2f} of {label}: "
        f"{_amount(fewer_bits, 'fewer bits', 'more bits')}; compression "
        f"{score.compression_ratio:.2f} against {champion.compression_ratio:.2f}: "
        f"{_amount(more_compression, 'more', 'less')}; {needed}."
    )
    verdict = Verdict(
        adopt=adopt,
        rule=rule,
        reason=reason,
        compared_with=label,
        improvement_percent=fewer_bits,
        bitrate_mbps=score.bitrate_mbps,
        compression_ratio=score.compression_ratio,
    )
    return _certain_later(verdict, score, champion, limits.confidence) if adopt else verdict


def _certain_later(
    verdict: Verdict, score: Score, champion: ChampionFacts, confidence: float
) -> Verdict:
    """Also require a gain at the worse end of the interval, clip by clip against the champion."""
    bits = {clip.clip: clip.candidate_bits for clip in score.clips}
    interval = gain_interval(bits, champion.clip_bits, confidence)
    if interval is None:
        return replace(verdict, reason=f"{verdict.reason}{_ONE_CLIP}")
    span = (
        f"{_amount(interval.low, 'fewer bits', 'more bits')} to "
        f"{_amount(interval.high, 'fewer', 'more')} at {interval.level:.0%} confidence over "
        f"{interval.clips} clips"
    )
    if interval.low > 0:
        return replace(verdict, reason=f"{verdict.reason} Clip by clip: {span}.")
    return replace(
        verdict,
        adopt=False,
        rule=VerdictRule.UNCERTAIN,
        reason=f"{verdict.reason} But clip by clip it is {span}, and the worse end is no gain: "
        "not adopted.",
    )


def _amount(percent: float, more: str, less: str) -> str:
    return f"{abs(percent):.2f} % {more if percent >= 0 else less}"
