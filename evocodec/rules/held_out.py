"""Rules of the held-out gate: how much of a development figure must remain on unseen clips."""

from dataclasses import dataclass, replace

from evocodec.curves.gain import Gain
from evocodec.domain.candidate import Verdict
from evocodec.domain.results import (
    HEVC_BITRATE_MBPS,
    HeldOutResult,
    Interval,
)
from evocodec.domain.vocabulary import VerdictRule
from evocodec.rules.adoption import Thresholds

PASSED_MESSAGE = "The gain held on held-out clips."
FIRST_PASSED_MESSAGE = "The bitrate held on held-out clips."
UNCOMPARED_MESSAGE = "It ran on held-out clips, but there was nothing to compare it with."
FAILED_MESSAGE = "The development gain did not survive on held-out clips."
BROKEN_MESSAGE = "It failed on held-out material."
UNSTABLE_MESSAGE = "A second decode of held-out material gave other frames."
_FIRST = frozenset({VerdictRule.FIRST_UNDER_ADOPT, VerdictRule.FIRST_CHANCE})


@dataclass(frozen=True, slots=True)
class HeldOutLimits:
    """Terms of the gate, both in comparison with the development clips.

    ``min_retained_share`` of a later version's gain must remain. The bits of any version, relative
    to HEVC's, may be ``max_excess_percent`` more.
    """

    min_retained_share: float
    max_excess_percent: float
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class HeldOutMeasurement:
    """Measurements for one decision; ``gain`` is over the version to beat, or over HEVC.

    ``broken`` says how the program failed on a held-out clip; there is no gain then.
    ``nondeterministic``: it failed because two decodes differ. ``left_out`` counts clips on which
    the version to beat itself fails. ``bitrate_mbps`` is on the scale on which HEVC is 10.00;
    ``excess_percent`` how many more bits than on the development clips, relative to HEVC on both.
    """

    gain: Gain | None
    interval_percent: Interval | None
    clips: int
    seed_sha256: str
    broken: str = ""
    left_out: int = 0
    nondeterministic: bool = False
    bitrate_mbps: float | None = None
    excess_percent: float | None = None
    excess_interval_percent: Interval | None = None


def development_gain_percent(verdict: Verdict, champion_ratio: float | None) -> float:
    """Return the gain that led to the verdict, in per cent fewer bits.

    By the rule ``compression`` that is the gain in all bits together, else the verdict's own.
    """
    ratio = verdict.compression_ratio
    if verdict.rule is VerdictRule.COMPRESSION and ratio and champion_ratio:
        return 100.0 * (1.0 - champion_ratio / ratio)
    return verdict.improvement_percent or 0.0


def decide_held_out(
    verdict: Verdict,
    development_percent: float,
    measured: HeldOutMeasurement,
    limits: HeldOutLimits,
) -> HeldOutResult:
    """Decide whether a development figure remains on unseen clips; a pure function.

    No version may need ``max_excess_percent`` more bits, relative to HEVC's, than on the
    development clips. A first version must also stay below the bitrate that its rule allows. A
    later version must keep ``min_retained_share`` of its development gain, and its gain must be
    above zero. The interval does not decide: over a few clips it is as wide as the gain itself, and
    would reject most good candidates. It only says whether more clips should be drawn
    (``is_inconclusive``).
    """
    passed, reason = _decide(verdict, development_percent, measured, limits)
    return HeldOutResult(
        passed=passed,
        reason=reason,
        compared_with=verdict.compared_with,
        development_gain_percent=development_percent,
        held_out_gain_percent=_figure(verdict, measured.gain),
        interval_percent=measured.interval_percent,
        clips=measured.clips,
        seed_sha256=measured.seed_sha256,
        nondeterministic=measured.nondeterministic,
        bitrate_mbps=measured.bitrate_mbps,
        development_bitrate_mbps=verdict.bitrate_mbps,
        excess_percent=measured.excess_percent,
    )


def is_inconclusive(
    verdict: Verdict,
    development_percent: float,
    measured: HeldOutMeasurement,
    limits: HeldOutLimits,
) -> bool:
    """Whether what is required lies within the interval of what was measured; a pure function.

    A gain in all bits together (rule ``compression``) has no interval of its own: that of the
    mean is moved to it.
    """
    excess, limit = measured.excess_interval_percent, limits.max_excess_percent
    if excess is not None and excess.low <= limit < excess.high and not measured.broken:
        return True
    gain, interval = measured.gain, measured.interval_percent
    figure = _figure(verdict, gain)
    if measured.broken or gain is None or figure is None or interval is None:
        return False
    needed = _needed_percent(verdict, development_percent, limits)
    moved = figure - gain.mean_percent
    return interval.low + moved < needed <= interval.high + moved


def apply_gate(verdict: Verdict, result: HeldOutResult) -> Verdict:
    """Return the verdict after the gate; a passed gate adds no number to it."""
    if result.passed:
        return replace(verdict, reason=f"{verdict.reason} {_passed_message(verdict, result)}")
    rule = VerdictRule.NONDETERMINISTIC if result.nondeterministic else VerdictRule.OVERFITTED
    return replace(verdict, adopt=False, rule=rule, reason=result.reason)


def public_outcome(result: HeldOutResult) -> str:
    """Return the part of the gate's result that an agent may know: pass or fail."""
    if result.passed:
        return PASSED_MESSAGE
    if result.nondeterministic:
        return UNSTABLE_MESSAGE
    return BROKEN_MESSAGE if result.held_out_gain_percent is None else FAILED_MESSAGE


def _passed_message(verdict: Verdict, result: HeldOutResult) -> str:
    if result.held_out_gain_percent is None:
        return UNCOMPARED_MESSAGE
    return FIRST_PASSED_MESSAGE if verdict.rule in _FIRST else PASSED_MESSAGE


def _decide(
    verdict: Verdict,
    development_percent: float,
    measured: HeldOutMeasurement,
    limits: HeldOutLimits,
) -> tuple[bool, str]:
    gain = _figure(verdict, measured.gain)
    if measured.broken:
        message = UNSTABLE_MESSAGE if measured.nondeterministic else BROKEN_MESSAGE
        return False, f"{message} {measured.broken}"
    excess = measured.excess_percent
    if excess is not None and excess > limits.max_excess_percent:
        gains = "" if gain is None else f" {_gains_text(verdict, development_percent, gain)}."
        return False, f"{FAILED_MESSAGE}{gains} {_excess_text(verdict, measured, limits)}"
    if gain is None:
        return True, (
            f"{verdict.compared_with} itself fails on all {measured.left_out} held-out clips, and "
            "the candidate on none"
        )
    if verdict.rule in _FIRST:
        return _decide_first(verdict, development_percent, gain, measured, limits)
    needed = _needed_percent(verdict, development_percent, limits)
    passed = gain > 0.0 and gain >= needed
    outcome = PASSED_MESSAGE if passed else FAILED_MESSAGE
    gains = _gains_text(verdict, development_percent, gain)
    return passed, (
        f"{outcome} {gains} ({measured.clips} clips); at least {needed:.2f} % must survive."
    )


def _gains_text(verdict: Verdict, development_percent: float, gain: float) -> str:
    return (
        f"{gain:+.2f} % fewer bits than {verdict.compared_with} on held-out clips against "
        f"{development_percent:+.2f} % on the development clips"
    )


def _excess_text(verdict: Verdict, measured: HeldOutMeasurement, limits: HeldOutLimits) -> str:
    figures = ""
    if measured.bitrate_mbps is not None and verdict.bitrate_mbps is not None:
        figures = (
            f"{measured.bitrate_mbps:.2f} Mbit/s on {measured.clips} held-out clips against "
            f"{verdict.bitrate_mbps:.2f} on the development clips: "
        )
    return (
        f"{figures}relative to HEVC it needs {measured.excess_percent:.1f} % more bits there; at "
        f"most {limits.max_excess_percent:g} % more are allowed."
    )


def _decide_first(
    verdict: Verdict,
    development_percent: float,
    gain: float,
    measured: HeldOutMeasurement,
    limits: HeldOutLimits,
) -> tuple[bool, str]:
    line = _line_mbps(verdict, limits.thresholds)
    bitrate = HEVC_BITRATE_MBPS * (1.0 - gain / 100.0)
    development = HEVC_BITRATE_MBPS * (1.0 - development_percent / 100.0)
    passed = bitrate < line
    outcome = FIRST_PASSED_MESSAGE if passed else FAILED_MESSAGE
    return passed, (
        f"{outcome} {bitrate:.2f} Mbit/s on {measured.clips} held-out clips against "
        f"{development:.2f} on the development clips; it must stay under {line:g}, and within "
        f"{limits.max_excess_percent:g} % of its development figure."
    )


def _needed_percent(verdict: Verdict, development_percent: float, limits: HeldOutLimits) -> float:
    if verdict.rule in _FIRST:
        return 100.0 * (1.0 - _line_mbps(verdict, limits.thresholds) / HEVC_BITRATE_MBPS)
    return max(limits.min_retained_share * development_percent, 0.0)


def _line_mbps(verdict: Verdict, thresholds: Thresholds) -> float:
    strict = verdict.rule is VerdictRule.FIRST_UNDER_ADOPT
    return thresholds.adopt_first_below_mbps if strict else thresholds.chance_first_below_mbps


def _figure(verdict: Verdict, gain: Gain | None) -> float | None:
    if gain is None:
        return None
    return gain.total_percent if verdict.rule is VerdictRule.COMPRESSION else gain.mean_percent
