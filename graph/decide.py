"""Decision nodes: judge, adopt, reject, record."""

from dataclasses import dataclass

from evocodec.champions.messages import AdoptionEntry
from evocodec.domain.candidate import CandidateStatus, Verdict
from evocodec.domain.clock import utc_now
from evocodec.domain.events import (
    Adopted,
    AttemptFailed,
    CandidateClosed,
    CodeWritten,
    Evaluated,
    HeldOutTested,
    Judged,
    Screened,
    adopted_key,
    code_key,
    evaluated_key,
    held_out_key,
    kinds_of,
    screened_key,
)
from evocodec.domain.results import HeldOutResult, Score
from evocodec.domain.vocabulary import VerdictRule
from evocodec.rules.adoption import ChampionFacts, JudgeRequest
from evocodec.views.experiment_record import experiment_id, experiment_record
from graph.held_out_gate import HeldOutGate, Incumbent
from graph.propose import recorded_plan
from graph.services import Services
from graph.state import CandidateState


@dataclass(frozen=True, slots=True)
class DecideNodes:
    """Verdict, adoption and the record; safe to enter again after a crash."""

    services: Services

    def judge(self, state: CandidateState) -> CandidateState:
        """Compare with the version to beat, by rule."""
        services, candidate_id = self.services, state["candidate_id"]
        beaten = services.champion.now
        champion = beaten.facts
        decided = self._newest_verdict(state)
        if decided is not None and (
            not decided.adopt or self._is_adopted(state) or not _is_stale(decided, champion)
        ):
            return {"outcome": "adopt" if decided.adopt else "rejected"}
        score, screened = self._score(state), self._screened(state)
        request = JudgeRequest(
            run_id=services.run_id,
            candidate_id=candidate_id,
            score=score,
            screen=screened.result if screened and score is None else None,
            champion=champion,
        )
        known = self._known_version(state)
        if known and score is not None:
            verdict = Verdict(
                adopt=False,
                rule=VerdictRule.BASELINE,
                reason=f"This is {known}, measured again on this run's clips: the version to beat.",
                compared_with=known,
                improvement_percent=0.0,
                bitrate_mbps=score.bitrate_mbps,
                compression_ratio=score.compression_ratio,
            )
        else:
            verdict = services.team.judge.judge(request)
            if verdict.adopt and score is not None and services.held_out is not None:
                incumbent = (
                    Incumbent(beaten.candidate_id, champion.compression_ratio)
                    if champion
                    else Incumbent()
                )
                gate = HeldOutGate(services, services.held_out)
                verdict = gate.ask(state, verdict, score, incumbent)
        services.journal.publish(
            Judged(run_id=services.run_id, at=utc_now(), candidate_id=candidate_id, verdict=verdict)
        )
        return {"outcome": "adopt" if verdict.adopt else "rejected"}

    def adopt(self, state: CandidateState) -> CandidateState:
        """Commit the program as the next version, unless another one got there first."""
        services, candidate_id = self.services, state["candidate_id"]
        score = self._score(state)
        if score is None:
            raise LookupError(f"{candidate_id} is to be adopted without a score")
        with services.champion.lock:
            if self._is_adopted(state):
                return {"outcome": "adopted"}
            verdict = self._verdict(state)
            if _is_stale(verdict, services.champion.facts):
                return {"outcome": "stale"}
            services.journal.check_lease()
            adoption = services.champions.adopt(self._entry(state, score, verdict))
            services.journal.publish(
                Adopted(
                    run_id=services.run_id,
                    at=utc_now(),
                    candidate_id=candidate_id,
                    version=adoption.version,
                    commit=adoption.commit,
                    tag=adoption.tag,
                    pushed=adoption.pushed,
                    push_error=adoption.push_error,
                )
            )
        return {"outcome": "adopted"}

    def reject(self, state: CandidateState) -> CandidateState:
        """Nothing to undo: the ledger already says why."""
        return {"outcome": "rejected"}

    def record(self, state: CandidateState) -> CandidateState:
        """Write the candidate's experiment record, and close it: what is closed has a record."""
        services, candidate_id = self.services, state["candidate_id"]
        status, reason = self._final_status(state)
        events = [
            event
            for _, event in services.journal.ledger.events(
                services.run_id, candidate_id=candidate_id
            )
        ]
        closed = CandidateClosed(
            run_id=services.run_id,
            at=utc_now(),
            candidate_id=candidate_id,
            status=status,
            reason=reason,
            experiment_id=experiment_id(events),
        )
        record = experiment_record([*events, closed])
        record["unsafe"] = services.unsafe
        record["library_codecs_allowed"] = services.library_codecs_allowed
        services.journal.check_lease()
        services.records.put(record)
        services.journal.publish(closed)
        return {}

    def _final_status(self, state: CandidateState) -> tuple[CandidateStatus, str]:
        services, candidate_id = self.services, state["candidate_id"]
        if self._is_adopted(state):
            return CandidateStatus.ADOPTED, self._verdict(state).reason
        if self._score(state) is not None or self._screened_out(state):
            verdict = self._verdict(state)
            if verdict.rule is VerdictRule.NONDETERMINISTIC:
                return CandidateStatus.TEST_FAILED, f"{verdict.rule}: {verdict.reason}"
            return CandidateStatus.REJECTED, verdict.reason
        failures = [
            event
            for _, event in services.journal.ledger.events(
                services.run_id, candidate_id=candidate_id, kinds=kinds_of(AttemptFailed)
            )
            if isinstance(event, AttemptFailed)
        ]
        if not failures:
            return CandidateStatus.TEST_FAILED, "it ended without a program"
        return CandidateStatus.TEST_FAILED, f"{failures[-1].failure}: {failures[-1].message}"

    def _entry(self, state: CandidateState, score: Score, verdict: Verdict) -> AdoptionEntry:
        services = self.services
        plan = recorded_plan(services, state["candidate_id"])
        return AdoptionEntry(
            run_id=services.run_id,
            candidate_id=state["candidate_id"],
            parent_id=state["parent_id"],
            program=services.programs.get(state["source_sha256"]),
            score=score,
            verdict=verdict,
            origin=plan.origin,
            model=self._model(state),
            hypothesis=plan.hypothesis,
            held_out=self._held_out(state, verdict),
        )

    def _model(self, state: CandidateState) -> str:
        """The language model that wrote the program, as the ledger has it; empty for none."""
        event = self.services.journal.find(code_key(state["candidate_id"], state["attempt"]))
        return event.model if isinstance(event, CodeWritten) else ""

    def _known_version(self, state: CandidateState) -> str:
        """The label of the current version when this candidate is that very program."""
        services = self.services
        current = services.champions.current()
        if current is None or state["number"] > len(services.baselines):
            return ""
        program = services.programs.get(state["source_sha256"])
        same = services.champions.program(current.version) == program
        return f"v{current.version}" if same else ""

    def _held_out(self, state: CandidateState, verdict: Verdict) -> HeldOutResult | None:
        key = held_out_key(state["candidate_id"], state["attempt"], verdict.compared_with)
        event = self.services.journal.find(key)
        return event.result if isinstance(event, HeldOutTested) else None

    def _score(self, state: CandidateState) -> Score | None:
        event = self.services.journal.find(evaluated_key(state["candidate_id"], state["attempt"]))
        return event.score if isinstance(event, Evaluated) else None

    def _screened(self, state: CandidateState) -> Screened | None:
        event = self.services.journal.find(screened_key(state["candidate_id"], state["attempt"]))
        return event if isinstance(event, Screened) else None

    def _screened_out(self, state: CandidateState) -> bool:
        screened = self._screened(state)
        return screened is not None and not screened.result.passed

    def _is_adopted(self, state: CandidateState) -> bool:
        return self.services.journal.find(adopted_key(state["candidate_id"])) is not None

    def _verdict(self, state: CandidateState) -> Verdict:
        verdict = self._newest_verdict(state)
        if verdict is None:
            raise LookupError(f"{state['candidate_id']} has no verdict in the ledger")
        return verdict

    def _newest_verdict(self, state: CandidateState) -> Verdict | None:
        """The newest verdict: a stale one is followed by another."""
        judged = [
            event.verdict
            for _, event in self.services.journal.ledger.events(
                self.services.run_id, candidate_id=state["candidate_id"], kinds=kinds_of(Judged)
            )
            if isinstance(event, Judged)
        ]
        return judged[-1] if judged else None


def _is_stale(verdict: Verdict, champion: ChampionFacts | None) -> bool:
    """Whether another version was adopted since the candidate was judged."""
    return champion is not None and verdict.compared_with != champion.version
