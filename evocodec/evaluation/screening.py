"""The screen: a few frames at one rate decide whether a full evaluation is worth its cost.

A candidate is dropped only when it could not win even at the optimistic end of the estimate. How
far estimates miss is learnt: from recorded candidates that were evaluated independently of their
screen result, and during a run from the candidates of that run.
"""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import geometric_mean

from evocodec.curves.confidence import student_quantile
from evocodec.curves.rd_curve import log_rate_slope
from evocodec.domain.events import Evaluated, Event, Screened
from evocodec.domain.results import RatePoint, RdCurve, Score, ScreenResult
from evocodec.rules.adoption import Thresholds

MAX_SCREEN_DIFFERENCE_DB = 4.0

# ln(full ratio ÷ screened ratio) of 51 candidates with a screened ratio below 1.1: mutations of the
# seed program `inter`, 9 of 17 frames of the three built-in clips, 39 of them at half the size and
# evaluated whatever their estimate was. See docs/evaluation.md.
PRIOR_MEAN = -0.0033
PRIOR_DEVIATION = 0.0289
PRIOR_PAIRS = 51


@dataclass(frozen=True, slots=True)
class AdoptionTarget:
    """Result that a full evaluation must reach for an adoption, against the reference."""

    rate_ratio: float
    compression: float


@dataclass(frozen=True, slots=True)
class ErrorModel:
    """Student's predictive distribution of ln(full ratio ÷ screened ratio)."""

    mean: float = PRIOR_MEAN
    deviation: float = PRIOR_DEVIATION
    pairs: int = PRIOR_PAIRS

    def lowest(self, confidence: float) -> float:
        """The lower end of the interval that holds the next error with this confidence."""
        spread = self.deviation * math.sqrt(1 + 1 / self.pairs)
        return self.mean - student_quantile(confidence, self.pairs - 1) * spread


class ScreenErrors:
    """Errors of the screen in this run, against full evaluations; thread-safe.

    The same events give the same errors in any order, so a resumed run has those of an
    uninterrupted one.
    """

    def __init__(self) -> None:
        # Candidates that finish together report at once.
        self._lock = threading.Lock()
        self._screened: dict[tuple[str, int], ScreenResult] = {}
        self._bitrates: dict[str, float] = {}
        self._evaluated: dict[tuple[str, int], float] = {}

    def observe(self, event: Event) -> None:
        """Take note of a screen or an evaluation; other events, and the same again, say nothing."""
        with self._lock:
            if isinstance(event, Screened):
                self._screened[event.candidate_id, event.attempt] = event.result
            elif isinstance(event, Evaluated):
                self._bitrates[event.candidate_id] = event.score.bitrate_mbps
                self._evaluated[event.candidate_id, event.attempt] = event.score.bitrate_mbps

    def model(self) -> ErrorModel:
        """The prior, and every pair of screen and full evaluation so far, one like the other."""
        with self._lock:
            errors = sorted(
                math.log(bitrate / self._bitrates[screened.reference_id] / screened.rate_ratio)
                for key, bitrate in self._evaluated.items()
                if (screened := self._screened.get(key)) is not None
                and screened.reference_id in self._bitrates
            )
        count = PRIOR_PAIRS + len(errors)
        mean = math.fsum([PRIOR_PAIRS * PRIOR_MEAN, *errors]) / count
        squares = [
            (PRIOR_PAIRS - 1) * PRIOR_DEVIATION**2 + PRIOR_PAIRS * (PRIOR_MEAN - mean) ** 2,
            *((error - mean) ** 2 for error in errors),
        ]
        return ErrorModel(mean, math.sqrt(math.fsum(squares) / (count - 1)), count)


def screen(
    *,
    reference: Mapping[str, RatePoint],
    candidate: Mapping[str, RatePoint],
    anchors: Mapping[str, RdCurve],
    reference_id: str,
    keep_below: float,
    line: AdoptionTarget,
    confidence: float,
    errors: ErrorModel | None = None,
) -> ScreenResult:
    """Estimate the rate ratio at equal quality from one rate of a few frames of each clip.

    Where the two differ in quality, the candidate's bits are moved along the anchor's slope
    d ln(bits) / d PSNR-Y at the middle of both. That is an estimate: it may turn a candidate
    away, and never adopts one. It passes when the optimistic end of the estimate reaches ``line``,
    when the estimate itself is at most ``keep_below``, and when the qualities are further apart
    than ``MAX_SCREEN_DIFFERENCE_DB``, where an estimate is not trusted. Raises ``ValueError`` when
    clips or frame counts differ.
    """
    if not reference or set(reference) != set(candidate):
        raise ValueError(f"clips differ: {sorted(reference)} and {sorted(candidate)}")
    per_clip = {
        clip: _rate_ratio(reference[clip], candidate[clip], anchors[clip])
        for clip in sorted(reference)
    }
    ratio = geometric_mean(per_clip.values())
    optimism = math.exp((errors or ErrorModel()).lowest(confidence))
    could_win = ratio * optimism <= line.rate_ratio or (
        _compression(reference, per_clip) / optimism >= line.compression
    )
    difference_db, clip = max(
        (abs(candidate[clip].quality.psnr_y_db - reference[clip].quality.psnr_y_db), clip)
        for clip in per_clip
    )
    judged = difference_db <= MAX_SCREEN_DIFFERENCE_DB
    passed = not judged or could_win or ratio <= keep_below
    frames = max(point.frames for point in reference.values())
    if judged:
        reason = (
            f"estimated {_change(ratio)} than {reference_id} on {frames} frames, at best "
            f"{_change(ratio * optimism)}"
        )
        reason += ": worth a full evaluation" if passed else ", which would not be adopted"
    else:
        reason = (
            f"{difference_db:.1f} dB away from {reference_id} on {clip}: too far to judge from "
            f"{frames} frames, so it is measured in full"
        )
    return ScreenResult(
        rate_ratio=ratio,
        per_clip=per_clip,
        reference_id=reference_id,
        passed=passed,
        reason=reason,
        optimistic_rate_ratio=ratio * optimism,
    )


def first_target(score: Score, thresholds: Thresholds) -> AdoptionTarget:
    """Target while there is no version yet, against a reference with this score."""
    return AdoptionTarget(thresholds.chance_first_below_mbps / score.bitrate_mbps, math.inf)


def later_target(thresholds: Thresholds) -> AdoptionTarget:
    """Target against a version."""
    return AdoptionTarget(
        1 - thresholds.bitrate_gain_percent / 100, 1 + thresholds.compression_gain_percent / 100
    )


def _compression(reference: Mapping[str, RatePoint], per_clip: Mapping[str, float]) -> float:
    """The reference's bits over the candidate's, all clips together."""
    bits = {clip: reference[clip].bits for clip in per_clip}
    return sum(bits.values()) / math.fsum(bits[clip] * per_clip[clip] for clip in per_clip)


def _rate_ratio(reference: RatePoint, candidate: RatePoint, anchor: RdCurve) -> float:
    if reference.frames != candidate.frames:
        raise ValueError(
            f"{reference.clip}: {candidate.frames} frames cannot be compared with "
            f"{reference.frames}"
        )
    ours, theirs = candidate.quality.psnr_y_db, reference.quality.psnr_y_db
    slope = log_rate_slope(anchor, (ours + theirs) / 2)
    return math.exp(math.log(candidate.bits / reference.bits) - slope * (ours - theirs))


def _change(ratio: float) -> str:
    return f"{100 * abs(ratio - 1):.1f} % {'more' if ratio > 1 else 'fewer'} bits"
