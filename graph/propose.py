"""Proposal nodes: plan, code, review."""

from dataclasses import dataclass, replace

from agents.requests import (
    CodeReply,
    CodeRequest,
    EarlierReply,
    Feedback,
    Measured,
    Parent,
    Past,
    PlanRequest,
    ReviewRequest,
)
from evocodec.codec.program import Program
from evocodec.domain.candidate import Origin, Plan, Review
from evocodec.domain.clock import utc_now
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.events import (
    AnchorReady,
    AttemptFailed,
    CodeWritten,
    ModelCalled,
    Planned,
    Reviewed,
    code_key,
    failed_key,
    kinds_of,
    planned_key,
    reply_key,
    review_key,
)
from evocodec.domain.results import Stage
from evocodec.domain.vocabulary import CallOutcome, ModelRole, Proposer
from evocodec.line_diff import unified_diff
from graph.evaluations import evaluation_of
from graph.history import champion_summary, measured_of, past_of, planner_history
from graph.services import Services
from graph.state import CandidateState

_READERS = frozenset({Proposer.MODEL, Proposer.REPLAY})
"""Proposers whose planner is told what was measured and tried."""


@dataclass(frozen=True, slots=True)
class ProposeNodes:
    """Plan, code and review. Each looks into the ledger first, and repeats nothing."""

    services: Services

    def plan(self, state: CandidateState) -> CandidateState:
        """Make the plan; a baseline has no hypothesis."""
        services, candidate_id = self.services, state["candidate_id"]
        recorded = services.journal.find(planned_key(candidate_id))
        if recorded is None:
            if _failure_of(services, state) is not None:
                return {"outcome": "failed"}
            try:
                self._make_plan(state)
            except CandidateFailure as failure:
                record_failure(services, state, Stage.REVIEW, failure)
                return {"outcome": "failed"}
        return {"outcome": "planned", "attempt": 0, "revisions": 0, "repairs": 0}

    def code(self, state: CandidateState) -> CandidateState:
        """Get a program for this attempt; refuse one that was evaluated before."""
        services, attempt = self.services, state["attempt"]
        candidate_id = state["candidate_id"]
        recorded = services.journal.find(code_key(candidate_id, attempt))
        failed = _failure_of(services, state)
        if failed and (recorded is None or failed.failure == FailureKind.DUPLICATE):
            return repair_state(services, state)
        try:
            if isinstance(recorded, CodeWritten):
                written = recorded
            else:
                reply = self._write(state)
                program = services.programs.put(reply.program)
                written = CodeWritten(
                    run_id=services.run_id,
                    at=utc_now(),
                    candidate_id=candidate_id,
                    attempt=attempt,
                    source_sha256=program.sha256,
                    program_bytes=len(program.data),
                    note=reply.note,
                    model=reply.model,
                    facts=program.facts,
                )
                services.journal.publish(written)
            self._refuse_duplicate(written)
        except CandidateFailure as failure:
            record_failure(services, state, Stage.REVIEW, failure)
            return repair_state(services, state)
        return {"outcome": "coded", "source_sha256": written.source_sha256}

    def review(self, state: CandidateState) -> CandidateState:
        """Review the program; a refusal goes back to the coder with its findings."""
        services, attempt = self.services, state["attempt"]
        program = services.programs.get(state["source_sha256"])
        plan = recorded_plan(services, state["candidate_id"])
        recorded = self._review_of(state["candidate_id"], attempt)
        if recorded is not None:
            review = Review(recorded.findings, recorded.reviewer)
        else:
            review = services.team.reviewer.review(
                ReviewRequest(
                    services.run_id,
                    state["candidate_id"],
                    attempt,
                    program,
                    plan,
                    is_baseline=state["number"] <= len(services.baselines),
                    parent=self._reviewed_before(state),
                )
            )
            services.journal.publish(
                Reviewed(
                    run_id=services.run_id,
                    at=utc_now(),
                    candidate_id=state["candidate_id"],
                    attempt=attempt,
                    accepted=review.accepted,
                    findings=review.findings,
                    reviewer=review.reviewer,
                )
            )
        if review.accepted:
            return {"outcome": "accepted"}
        first = review.findings[0]
        failure = CandidateFailure(
            FailureKind.REVIEW,
            f"line {first.line}: {first.message}" if first.line else first.message,
            detail="\n".join(f"{f.rule} line {f.line}: {f.message}" for f in review.findings),
        )
        record_failure(services, state, Stage.REVIEW, failure)
        return {
            "outcome": "refused",
            "attempt": attempt + 1,
            "revisions": state.get("revisions", 0) + 1,
            "hopeless": _same_reply_again(services, state["candidate_id"], attempt),
            "continued": _is_begun(services, state["candidate_id"], attempt + 1),
        }

    def _reviewed_before(self, state: CandidateState) -> Program | None:
        """The parent's program: it is one that the run starts from, or a review passed it."""
        parent_id = state["parent_id"]
        return self.services.program_of(parent_id) if parent_id else None

    def _make_plan(self, state: CandidateState) -> None:
        services, number = self.services, state["number"]
        if number <= len(services.baselines):
            hypothesis = "The program that this run starts from, measured as it is."
            if len(services.baselines) > 1:
                hypothesis = (
                    f"Program {number} of the {len(services.baselines)} that this run starts "
                    "from, measured as it is."
                )
            self._record_plan(state, Plan(hypothesis, origin=Origin.SEED))
            return
        planner = services.team.planner
        request = PlanRequest(
            run_id=services.run_id,
            candidate_id=state["candidate_id"],
            number=number,
            parent=parent_of(services, state["parent_id"]),
            champion=champion_summary(services.champion.facts),
            history=planner_history(services.run_state, services.archive, services.history_length),
            imports=services.imports,
            seed=services.seed,
        )
        if services.team.proposer in _READERS:
            request = replace(
                request,
                measured=self._measured(state["parent_id"]),
                past=self._past(state["candidate_id"]),
            )
        with planner.turn():
            self._record_plan(state, planner.plan(request))

    def _measured(self, parent_id: str) -> Measured:
        services = self.services
        score, champion = (
            evaluated.score if evaluated else None
            for evaluated in (
                evaluation_of(services, name) if name else None
                for name in (parent_id, services.champion.candidate_id)
            )
        )
        anchors = {
            event.curve.clip: event.curve
            for _, event in services.journal.ledger.events(
                services.run_id, kinds=kinds_of(AnchorReady)
            )
            if isinstance(event, AnchorReady) and event.primary
        }
        return measured_of(score, anchors, champion)

    def _past(self, candidate_id: str) -> Past:
        services = self.services
        past = past_of(
            services.run_state,
            services.archive,
            services.history_length,
            candidate_id=candidate_id,
        )
        return replace(
            past, earlier_runs=services.earlier_runs, last_adoption=self._last_adoption()
        )

    def _last_adoption(self) -> str:
        """What the newest version changed in the one before it, as a difference."""
        champions = self.services.champions
        current = champions.current()
        if current is None or current.version < 2:
            return ""
        before, after = (champions.program(n).text for n in (current.version - 1, current.version))
        return "\n".join(
            unified_diff(
                before,
                after,
                from_label=f"v{current.version - 1}",
                to_label=f"v{current.version}",
                context_lines=1,
            )
        )

    def _replies(self, candidate_id: str, attempt: int) -> tuple[EarlierReply, ...]:
        """Return the coder's replies since the last one that yielded a program, oldest first."""
        found: list[EarlierReply] = []
        for number in range(attempt - 1, -1, -1):
            if isinstance(self.services.journal.find(code_key(candidate_id, number)), CodeWritten):
                break
            called = self.services.journal.find(reply_key(candidate_id, ModelRole.CODER, number))
            if isinstance(called, ModelCalled) and called.reply_sha256:
                text = self.services.read_text(called.reply_sha256)
                whole = called.outcome is not CallOutcome.TRUNCATED
                found.append(EarlierReply(text, is_whole=whole))
        return tuple(reversed(found))

    def _record_plan(self, state: CandidateState, plan: Plan) -> None:
        services = self.services
        services.journal.publish(
            Planned(
                run_id=services.run_id,
                at=utc_now(),
                candidate_id=state["candidate_id"],
                origin=plan.origin,
                hypothesis=plan.hypothesis,
                steps=plan.steps,
                edits=plan.edits,
            )
        )

    def _write(self, state: CandidateState) -> CodeReply:
        services = self.services
        if state["number"] <= len(services.baselines):
            return CodeReply(services.baselines[state["number"] - 1], "as it is")
        attempt = state["attempt"]
        return services.team.coder.write(
            CodeRequest(
                run_id=services.run_id,
                candidate_id=state["candidate_id"],
                attempt=attempt,
                plan=recorded_plan(services, state["candidate_id"]),
                parent=parent_of(services, state["parent_id"]),
                previous_program=self._program_before(state["candidate_id"], attempt),
                feedback=self._feedback(state["candidate_id"], attempt),
                replies=self._replies(state["candidate_id"], attempt),
                champion=champion_summary(services.champion.facts),
            )
        )

    def _program_before(self, candidate_id: str, attempt: int) -> Program | None:
        for earlier in range(attempt - 1, -1, -1):
            recorded = self.services.journal.find(code_key(candidate_id, earlier))
            if isinstance(recorded, CodeWritten):
                return self.services.programs.get(recorded.source_sha256)
        return None

    def _feedback(self, candidate_id: str, attempt: int) -> Feedback | None:
        failed = self.services.journal.find(failed_key(candidate_id, attempt - 1))
        if not isinstance(failed, AttemptFailed):
            return None
        reviewed = self._review_of(candidate_id, attempt - 1)
        if failed.failure == FailureKind.REVIEW and reviewed is not None:
            return Feedback("review", failed.message, findings=reviewed.findings)
        if failed.failure == FailureKind.NO_CODE:
            return Feedback("no_code", failed.message, detail=failed.detail)
        if failed.failure == FailureKind.DUPLICATE:
            return Feedback("duplicate", failed.message)
        return Feedback("failure", f"{failed.failure}: {failed.message}", detail=failed.detail)

    def _review_of(self, candidate_id: str, attempt: int) -> Reviewed | None:
        reviewed = self.services.journal.find(review_key(candidate_id, attempt))
        return reviewed if isinstance(reviewed, Reviewed) else None

    def _refuse_duplicate(self, written: CodeWritten) -> None:
        """Refuse a program that another candidate had before, by the order of the ledger."""
        earlier = self.services.novelty.first_with(written)
        if earlier is not None:
            raise CandidateFailure(
                FailureKind.DUPLICATE,
                f"this is the same program as {earlier}, or so near to it that nothing new "
                "would be learnt; change what it does",
            )


def recorded_plan(services: Services, candidate_id: str) -> Plan:
    """Return the plan from the ledger."""
    planned = services.journal.find(planned_key(candidate_id))
    if not isinstance(planned, Planned):
        raise LookupError(f"{candidate_id} has no plan in the ledger")
    return Plan(planned.hypothesis, planned.steps, planned.edits, planned.origin)


def parent_of(services: Services, parent_id: str) -> Parent:
    """Return the program and the number of the parent, from the archive."""
    entry = services.archive.get(parent_id)
    return Parent(parent_id, services.program_of(parent_id), entry.estimated_bitrate_mbps)


def record_failure(
    services: Services, state: CandidateState, stage: Stage, failure: CandidateFailure
) -> None:
    """Record a candidate's failure in the ledger, without metrics."""
    services.journal.publish(
        AttemptFailed(
            run_id=services.run_id,
            at=utc_now(),
            candidate_id=state["candidate_id"],
            attempt=state.get("attempt", 0),
            stage=stage,
            failure=failure.kind,
            message=failure.message,
            detail=failure.detail,
        )
    )


def repair_state(services: Services, state: CandidateState) -> CandidateState:
    """The state after a failed attempt: the next one, if there may be one, repairs it."""
    attempt = state["attempt"] + 1
    return {
        "outcome": "failed",
        "attempt": attempt,
        "repairs": state.get("repairs", 0) + 1,
        "hopeless": _same_reply_again(services, state["candidate_id"], state["attempt"]),
        "continued": _is_begun(services, state["candidate_id"], attempt),
    }


def _failure_of(services: Services, state: CandidateState) -> AttemptFailed | None:
    """How this attempt failed, if it did before the run was resumed."""
    failed = services.journal.find(failed_key(state["candidate_id"], state.get("attempt", 0)))
    return failed if isinstance(failed, AttemptFailed) else None


def _same_reply_again(services: Services, candidate_id: str, attempt: int) -> bool:
    """Whether the coder's reply is the one that it gave to the attempt before."""
    now, before = (
        services.journal.find(reply_key(candidate_id, ModelRole.CODER, number))
        for number in (attempt, attempt - 1)
    )
    return (
        isinstance(now, ModelCalled)
        and isinstance(before, ModelCalled)
        and now.reply_sha256 == before.reply_sha256
    )


def _is_begun(services: Services, candidate_id: str, attempt: int) -> bool:
    keys = (code_key(candidate_id, attempt), failed_key(candidate_id, attempt))
    return any(services.journal.find(key) is not None for key in keys)
