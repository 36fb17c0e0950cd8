"""Evaluation node: runs a program through smoke, screen and full, in an evaluation slot."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from evocodec.codec.program import Program
from evocodec.domain.errors import (
    CandidateFailure,
    Interrupted,
)
from evocodec.domain.events import (
    AttemptFailed,
    Evaluated,
    Screened,
    adopted_key,
    evaluated_key,
    failed_key,
    screened_key,
    stage_started_key,
)
from evocodec.domain.results import RatePoint, Stage
from evocodec.evaluation.staged import ScreenReference
from graph.evaluations import evaluation_of
from graph.propose import record_failure, repair_state
from graph.services import Services
from graph.state import CandidateState

_SLOT_POLL_SECONDS = 0.25


@contextmanager
def evaluation_slot(services: Services) -> Iterator[None]:
    """Wait for a free evaluation slot, or stop waiting when the run is asked to stop."""
    while not services.slots.acquire(timeout=_SLOT_POLL_SECONDS):
        if services.stop.is_set():
            raise Interrupted("the run was asked to stop")
    try:
        if services.stop.is_set():
            raise Interrupted("the run was asked to stop")
        yield
    finally:
        services.slots.release()


@dataclass(frozen=True, slots=True)
class EvaluateNode:
    """Runs the stages, cheapest first; each can stop the candidate."""

    services: Services

    def evaluate(self, state: CandidateState) -> CandidateState:
        """Measure the program of this attempt; measurements in the ledger are not repeated."""
        services, attempt = self.services, state["attempt"]
        candidate_id = state["candidate_id"]
        program = services.programs.get(state["source_sha256"])
        failed = services.journal.find(failed_key(candidate_id, attempt))
        if isinstance(failed, AttemptFailed):
            return repair_state(services, state)
        evaluated = services.journal.find(evaluated_key(candidate_id, attempt))
        adopted = services.journal.find(adopted_key(candidate_id)) is not None
        if isinstance(evaluated, Evaluated) and (evaluated.score.verified or adopted):
            return {"outcome": "evaluated"}
        stage = Stage.SMOKE
        try:
            with evaluation_slot(services):
                services.evaluator.smoke(candidate_id, attempt, program)
                stage = Stage.SCREEN
                if self._screened_out(state, program):
                    return {"outcome": "screened_out"}
                stage = Stage.FULL
                services.evaluator.full(candidate_id, attempt, program, self._relative(state))
        except CandidateFailure as failure:
            record_failure(services, state, stage, failure)
            return repair_state(services, state)
        return {"outcome": "evaluated"}

    def _screened_out(self, state: CandidateState, program: Program) -> bool:
        """Compare a few frames with the version to beat, or with the best candidate so far."""
        services = self.services
        candidate_id, attempt = state["candidate_id"], state["attempt"]
        screened = services.journal.find(screened_key(candidate_id, attempt))
        if isinstance(screened, Screened):
            return not screened.result.passed
        if services.journal.find(stage_started_key(candidate_id, attempt, Stage.FULL, 0)):
            return False  # there was nothing to compare it with then
        reference = self._reference(state)
        if reference is None:
            return False
        result = services.evaluator.screen(
            state["candidate_id"], state["attempt"], program, reference
        )
        return result is not None and not result.passed

    def _reference(self, state: CandidateState) -> ScreenReference | None:
        """Return screen points of the version to beat; baselines are compared with nothing."""
        services = self.services
        reference_id = services.champion.candidate_id or self._best_baseline()
        if state["number"] <= len(services.baselines) or not reference_id:
            return None
        evaluated = evaluation_of(services, reference_id)
        if evaluated is None:
            return None
        # Two candidates that need the same reference: the second waits and finds it recorded.
        with services.reference_lock:
            return services.evaluator.screen_points(
                reference_id,
                evaluated.attempt,
                services.program_of(reference_id),
                evaluated.score,
                version=bool(services.champion.candidate_id),
            )

    def _best_baseline(self) -> str:
        best = self.services.archive.best_evaluated()
        return best.candidate_id if best else ""

    def _relative(self, state: CandidateState) -> dict[str, tuple[RatePoint, ...]] | None:
        """The curves of the nearest measured relative, to place the first rates by."""
        for relative in (state["parent_id"], self.services.champion.candidate_id):
            evaluated = evaluation_of(self.services, relative) if relative else None
            if evaluated is not None:
                return {clip.clip: clip.curve.points for clip in evaluated.score.clips}
        return None
