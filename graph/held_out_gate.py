"""The held-out gate: measures a candidate again on unseen clips before it is adopted.

Nothing of it may reach an agent but pass or fail: no node hands anything from here to a team.
"""

import itertools
import statistics
from dataclasses import dataclass, field, replace

from evocodec.curves.confidence import gain_interval
from evocodec.curves.gain import gain_over
from evocodec.domain.candidate import Verdict
from evocodec.domain.clock import utc_now
from evocodec.domain.errors import CandidateFailure, FailureKind, Interrupted
from evocodec.domain.events import (
    HeldOutTested,
    held_out_key,
)
from evocodec.domain.results import HEVC_BITRATE_MBPS, HeldOutResult, Interval, Score
from evocodec.evaluation.held_out import HeldOutClip, HeldOutSample
from evocodec.evaluation.staged import operating_qp
from evocodec.rules.held_out import (
    HeldOutMeasurement,
    apply_gate,
    decide_held_out,
    development_gain_percent,
    is_inconclusive,
)
from graph.evaluations import evaluation_of
from graph.services import HeldOutConfig, Services
from graph.state import CandidateState


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The version to beat, as this run knows it; empty ids where it is HEVC."""

    candidate_id: str = ""
    compression_ratio: float | None = None


@dataclass(slots=True)
class _Sample:
    """Bits by clip, as far as they are known; no reference where the reference failed."""

    candidate: dict[str, float] = field(default_factory=dict)
    reference: dict[str, float] = field(default_factory=dict)
    hevc: dict[str, float] = field(default_factory=dict)
    expected: dict[str, float] = field(default_factory=dict)  # as on the development clips
    drawn: int = 0

    def measurement(self, seed_sha256: str, confidence: float) -> HeldOutMeasurement:
        shared = {clip: bits for clip, bits in self.candidate.items() if clip in self.reference}
        over_hevc = gain_over(self.hevc, self.candidate).mean_percent
        excess = gain_interval(self.candidate, self.expected, confidence)
        return HeldOutMeasurement(
            gain=gain_over(self.reference, shared) if shared else None,
            interval_percent=gain_interval(shared, self.reference, confidence),
            clips=len(shared),
            seed_sha256=seed_sha256,
            left_out=self.drawn - len(shared),
            bitrate_mbps=HEVC_BITRATE_MBPS * (1.0 - over_hevc / 100.0),
            excess_percent=-gain_over(self.expected, self.candidate).mean_percent,
            excess_interval_percent=excess and _negated(excess),
        )


@dataclass(frozen=True, slots=True)
class HeldOutGate:
    """Runs the held-out gate, once for each version that a candidate is compared with."""

    services: Services
    config: HeldOutConfig

    def ask(
        self, state: CandidateState, verdict: Verdict, score: Score, incumbent: Incumbent
    ) -> Verdict:
        """Return the verdict after the gate; measurements in the ledger are not repeated."""
        services, candidate_id, attempt = self.services, state["candidate_id"], state["attempt"]
        key = held_out_key(candidate_id, attempt, verdict.compared_with)
        known = services.journal.find(key)
        if isinstance(known, HeldOutTested) and not _is_unverified(known.result):
            return apply_gate(verdict, known.result)
        if services.stop.is_set():
            raise Interrupted("the run was asked to stop")
        # No evaluation slot is waited for: it would be one more whole evaluation of another
        # candidate, and the engine lets these tasks go first as it is.
        result = self._test(state, verdict, score, incumbent)
        services.journal.publish(
            HeldOutTested(
                run_id=services.run_id,
                at=utc_now(),
                candidate_id=candidate_id,
                attempt=attempt,
                result=result,
            )
        )
        return apply_gate(verdict, result)

    def _test(
        self, state: CandidateState, verdict: Verdict, score: Score, incumbent: Incumbent
    ) -> HeldOutResult:
        """Measure on clips, and on more clips while the result is inconclusive."""
        config = self.config
        development = development_gain_percent(verdict, incumbent.compression_ratio)
        name = f"{state['candidate_id']}/{state['attempt']}/{verdict.compared_with}"
        sample = _Sample()
        for again in itertools.count():
            draw = config.draw(name, again)
            if again and not draw.clips:
                break
            try:
                self._measure(state, score, incumbent, draw, sample, first=not again)
            except CandidateFailure as failure:
                clips = sample.drawn + len(draw.clips)
                measured = HeldOutMeasurement(
                    *(None, None, clips, draw.seed_sha256),
                    broken=str(failure),
                    nondeterministic=failure.kind is FailureKind.NONDETERMINISTIC,
                )
                break
            measured = sample.measurement(draw.seed_sha256, config.limits.thresholds.confidence)
            if not is_inconclusive(verdict, development, measured, config.limits):
                break
        return decide_held_out(verdict, development, measured, config.limits)

    def _measure(
        self,
        state: CandidateState,
        score: Score,
        incumbent: Incumbent,
        draw: HeldOutSample,
        sample: _Sample,
        *,
        first: bool,
    ) -> None:
        """Add the bits of the candidate and of the incumbent on these clips."""
        services = self.services
        program = services.programs.get(state["source_sha256"])
        sample.candidate |= services.evaluator.held_out(
            state["candidate_id"],
            state["attempt"],
            program,
            draw.clips,
            _around(score, draw.clips),
            announce=first,
        )
        sample.reference |= self._reference(incumbent, draw.clips)
        sample.hevc |= {held.clip.name: held.anchor_bits for held in draw.clips}
        sample.expected |= _expected(score, draw.clips)
        sample.drawn += len(draw.clips)

    def _reference(self, incumbent: Incumbent, clips: tuple[HeldOutClip, ...]) -> dict[str, float]:
        """Bits of HEVC, or of the version to beat, whose program runs again on the same clips.

        Clips on which that version itself fails are left out: no candidate is blamed for them.
        """
        if not incumbent.candidate_id:
            return {held.clip.name: held.anchor_bits for held in clips}
        services = self.services
        evaluated = evaluation_of(services, incumbent.candidate_id)
        if evaluated is None:
            raise LookupError(f"{incumbent.candidate_id} is to be beaten, but was never evaluated")
        program = services.program_of(incumbent.candidate_id)
        around = _around(evaluated.score, clips)

        def bits_on(some: tuple[HeldOutClip, ...]) -> dict[str, float]:
            # Not announced: the rival has had its turn, and serves another's.
            return services.evaluator.held_out(
                incumbent.candidate_id, evaluated.attempt, program, some, around, announce=False
            )

        try:
            return bits_on(clips)
        except CandidateFailure:
            bits: dict[str, float] = {}
            for held in clips:
                try:
                    bits |= bits_on((held,))
                except CandidateFailure:
                    continue
            return bits


def _is_unverified(result: HeldOutResult) -> bool:
    """Whether a version before 0.2 let it pass: that decoded once, and kept no bitrate."""
    return result.passed and result.bitrate_mbps is None


def _expected(score: Score, clips: tuple[HeldOutClip, ...]) -> dict[str, float]:
    """Bits that a clip needs where it costs as much, relative to HEVC, as its source does.

    Clips that come from no development clip are compared with the mean of those.
    """
    known = {clip_score.clip: clip_score.rate_ratio for clip_score in score.clips}
    mean = score.bitrate_mbps / HEVC_BITRATE_MBPS
    return {held.clip.name: held.anchor_bits * known.get(held.derived_from, mean) for held in clips}


def _negated(interval: Interval) -> Interval:
    return replace(interval, low=-interval.high, high=-interval.low)


def _around(score: Score, clips: tuple[HeldOutClip, ...]) -> dict[str, float]:
    """Expected operating quality of each clip: that of its source."""
    known = {
        clip_score.clip: operating_qp(clip_score.curve, clip_score.operating_psnr_y_db)
        for clip_score in score.clips
    }
    middle = statistics.median(known.values())
    return {held.clip.name: known.get(held.derived_from, middle) for held in clips}
