"""View of one candidate for people and agents, computed from its events."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus, Finding, Origin, Verdict
from evocodec.domain.errors import FailureKind
from evocodec.domain.results import (
    HeldOutResult,
    RatePoint,
    Score,
    ScreenResult,
    Stage,
    proven_percent,
)
from evocodec.domain.vocabulary import NoteSubject, ReviewerName


@dataclass(frozen=True, slots=True)
class FailureView:
    """Failure of an attempt without metrics; ``detail`` is untrusted text."""

    stage: Stage
    kind: FailureKind
    message: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ReviewView:
    """One reviewer's answer."""

    reviewer: ReviewerName
    accepted: bool
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One program of a candidate; the hash is empty when the coder delivered none."""

    attempt: int
    source_sha256: str = ""
    program_bytes: int = 0
    note: str = ""
    model: str = ""
    reviews: tuple[ReviewView, ...] = ()
    failure: FailureView | None = None


@dataclass(frozen=True, slots=True)
class PointView:
    """One measured rate point and the task that measured it."""

    attempt: int
    stage: Stage
    task: str
    point: RatePoint


@dataclass(frozen=True, slots=True)
class AdoptionView:
    """Location of an adopted candidate."""

    version: int
    commit: str
    tag: str
    pushed: bool
    push_error: str = ""


@dataclass(frozen=True, slots=True)
class CandidateView:
    """Everything that the ledger holds about one candidate.

    ``activity`` is what it is doing now, in words; ``done`` at the end. ``waits`` is what a call of
    a model waits for, if it waits. ``stage`` is the stage it
    is in or ended in, and ``stage_points`` how many rate points that stage has so far. ``failure``
    is that of the newest attempt, so a repaired candidate has none. ``verdict`` is the newest.
    ``held_out`` and the points of the held-out stage among ``points`` are for people, never for an
    agent.
    """

    candidate_id: str
    number: int = 0
    parent_id: str = ""
    status: CandidateStatus = CandidateStatus.RUNNING
    reason: str = ""
    experiment_id: str = ""
    origin: Origin | None = None
    hypothesis: str = ""
    steps: tuple[str, ...] = ()
    edits: tuple[tuple[str, str], ...] = ()
    activity: str = "planning"
    waits: str = ""
    stage: Stage | None = None
    stages: tuple[Stage, ...] = ()
    stage_points: int = 0
    attempts: tuple[AttemptView, ...] = ()
    failure: FailureView | None = None
    screen: ScreenResult | None = None
    score: Score | None = None
    held_out: HeldOutResult | None = None
    verdict: Verdict | None = None
    adoption: AdoptionView | None = None
    points: tuple[PointView, ...] = ()
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    retries: int = 0
    started_at: str = ""
    ended_at: str = ""

    @property
    def source_sha256(self) -> str:
        """The program of the newest attempt that has one; empty when there is none."""
        written = [attempt.source_sha256 for attempt in self.attempts if attempt.source_sha256]
        return written[-1] if written else ""

    @property
    def model(self) -> str:
        """The language model that wrote that program; empty where none did."""
        written = [attempt.model for attempt in self.attempts if attempt.source_sha256]
        return written[-1] if written else ""

    @property
    def reviews(self) -> tuple[ReviewView, ...]:
        """All reviews, of all attempts, in order."""
        return tuple(review for attempt in self.attempts for review in attempt.reviews)

    @property
    def improvement_percent(self) -> float | None:
        """Bits saved over what it was compared with: the smaller one of both sets of clips."""
        if self.verdict is None:
            return None
        return proven_percent(self.verdict.improvement_percent, self.held_out)

    @property
    def held_out_bitrate_mbps(self) -> float | None:
        """``bitrate_mbps`` on held-out clips; None where that was not measured."""
        return self.held_out.bitrate_mbps if self.held_out else None

    @property
    def running(self) -> bool:
        """Whether the candidate has not ended."""
        return self.status is CandidateStatus.RUNNING


_STAGE_WORDS = {
    Stage.REVIEW: "review",
    Stage.SMOKE: "smoke test",
    Stage.SCREEN: "screen",
    Stage.FULL: "full evaluation",
    Stage.HELD_OUT: "held-out check",
}


def waiting_text(event: ev.ModelNoted) -> str:
    """Return what a call waits for: ``waits 34 s: rate limit: …``."""
    pause = f" {event.seconds:.0f} s" if event.seconds else ""
    return f"waits{pause}: {event.text}"


class CandidateFold:
    """Accumulates the events of one candidate; ``view`` is computed on demand and cached.

    Made for tens of thousands of events: an event changes what it is about and copies nothing.
    Threads that share one need a lock.
    """

    def __init__(self, candidate_id: str, *, place: int = 0) -> None:
        self.candidate_id = candidate_id
        self.place = place  # among the candidates of its run
        self.status = CandidateStatus.RUNNING
        self.activity = "planning"
        self.failure: FailureView | None = None
        self.score: Score | None = None
        self.adopted = False
        self._fields: dict[str, Any] = {"candidate_id": candidate_id}
        self._calls = self._prompt_tokens = self._completion_tokens = self._retries = 0
        self._cost_usd = 0.0
        self._attempts: dict[int, AttemptView] = {}
        self._points: list[PointView] = []
        self._counts: Counter[tuple[int, Stage]] = Counter()
        self._stages: list[Stage] = []
        self._view: CandidateView | None = None
        self._restored: CandidateView | None = None

    @classmethod
    def of(cls, view: CandidateView, *, place: int = 0) -> "CandidateFold":
        """Return a fold that continues from this view."""
        fold = cls(view.candidate_id, place=place)
        fold.status, fold.activity, fold.failure = view.status, view.activity, view.failure
        fold.score, fold.adopted = view.score, view.adoption is not None
        fold._view = fold._restored = view
        return fold

    @property
    def running(self) -> bool:
        """Whether the candidate has not ended."""
        return self.status is CandidateStatus.RUNNING

    def apply(self, event: ev.Event) -> None:
        """Apply one of its events, in the order of the ledger."""
        if self._restored is not None:
            self._take_up(self._restored)
        self._view = None
        self._fields.setdefault("started_at", event.at)
        self._fields["waits"] = ""  # whatever comes after a pause ends it
        apply = _APPLY.get(type(event))
        if apply is not None:
            apply(self, event)

    def view(self) -> CandidateView:
        """Return what is known so far."""
        if self._view is None:
            attempts = self._attempts
            self._view = CandidateView(
                **self._fields,
                status=self.status,
                activity=self.activity,
                failure=self.failure,
                score=self.score,
                stages=tuple(self._stages),
                attempts=tuple(attempts[number] for number in sorted(attempts)),
                points=tuple(self._points),
                model_calls=self._calls,
                prompt_tokens=self._prompt_tokens,
                completion_tokens=self._completion_tokens,
                cost_usd=self._cost_usd,
                retries=self._retries,
            )
        return self._view

    def _take_up(self, view: CandidateView) -> None:
        """Take a view apart again: of thousands that are restored, few ever change."""
        self._restored = None
        self._fields = {name: getattr(view, name) for name in _FIELDS}
        self._calls, self._retries, self._cost_usd = view.model_calls, view.retries, view.cost_usd
        self._prompt_tokens = view.prompt_tokens
        self._completion_tokens = view.completion_tokens
        self._attempts = {attempt.attempt: attempt for attempt in view.attempts}
        self._points = list(view.points)
        self._counts.update((point.attempt, point.stage) for point in view.points)
        self._stages = list(view.stages)

    def _opened(self, event: ev.CandidateOpened) -> None:
        self._fields.update(number=event.number, parent_id=event.parent_id)

    def _planned(self, event: ev.Planned) -> None:
        self._fields.update(
            origin=event.origin, hypothesis=event.hypothesis, steps=event.steps, edits=event.edits
        )
        self.activity = "coding"

    def _model_called(self, event: ev.ModelCalled) -> None:
        self._calls += 1
        self._prompt_tokens += event.prompt_tokens
        self._completion_tokens += event.completion_tokens
        self._cost_usd += event.cost_usd

    def _model_noted(self, event: ev.ModelNoted) -> None:
        if event.subject is NoteSubject.WAITING:
            self._fields["waits"] = waiting_text(event)

    def _code_written(self, event: ev.CodeWritten) -> None:
        self._change_attempt(
            event.attempt,
            source_sha256=event.source_sha256,
            program_bytes=event.program_bytes,
            note=event.note,
            model=event.model,
        )
        self.failure, self.activity = None, "review"

    def _reviewed(self, event: ev.Reviewed) -> None:
        known = self._attempts.get(event.attempt)
        review = ReviewView(event.reviewer, event.accepted, event.findings)
        self._change_attempt(event.attempt, reviews=(*(known.reviews if known else ()), review))
        self.activity = "waiting" if event.accepted else "revising"

    def _stage_started(self, event: ev.StageStarted) -> None:
        if not self.running:
            return  # measured once more, as what a later candidate is screened against
        if event.stage not in self._stages:
            self._stages.append(event.stage)
        self._enter(event.attempt, event.stage)
        self.activity = _STAGE_WORDS[event.stage]

    def _point_measured(self, event: ev.PointMeasured) -> None:
        self._points.append(PointView(event.attempt, event.stage, event.task, event.point))
        self._counts[event.attempt, event.stage] += 1
        if self.running:
            self._fields["stage_points"] = self._counts[event.attempt, event.stage]

    def _retried(self, event: ev.InfrastructureRetried) -> None:
        self._retries += 1

    def _attempt_failed(self, event: ev.AttemptFailed) -> None:
        self.failure = FailureView(event.stage, event.failure, event.message, event.detail)
        self._change_attempt(event.attempt, failure=self.failure)
        self._fields["stage"] = event.stage
        self.activity = "repairing"

    def _screened(self, event: ev.Screened) -> None:
        self._fields["screen"] = event.result
        self.activity = "waiting" if event.result.passed else "judging"

    def _evaluated(self, event: ev.Evaluated) -> None:
        self.score, self.activity = event.score, "judging"

    def _held_out(self, event: ev.HeldOutTested) -> None:
        self._fields["held_out"] = event.result
        if event.result.nondeterministic:
            kind, reason = FailureKind.NONDETERMINISTIC, event.result.reason
            self.failure = FailureView(Stage.HELD_OUT, kind, reason, "")
        self.activity = "judging"

    def _judged(self, event: ev.Judged) -> None:
        self._fields["verdict"] = event.verdict
        self.activity = "adopting" if event.verdict.adopt else "recording"

    def _adopted(self, event: ev.Adopted) -> None:
        self._fields["adoption"] = AdoptionView(
            event.version, event.commit, event.tag, event.pushed, event.push_error
        )
        self.adopted, self.activity = True, "recording"

    def _closed(self, event: ev.CandidateClosed) -> None:
        self._fields.update(
            reason=event.reason, experiment_id=event.experiment_id, ended_at=event.at
        )
        self.status, self.activity = event.status, "done"

    def _enter(self, attempt: int, stage: Stage) -> None:
        self._fields.update(stage=stage, stage_points=self._counts[attempt, stage])

    def _change_attempt(self, number: int, **changes: Any) -> None:
        known = self._attempts.get(number)
        self._attempts[number] = (
            AttemptView(number, **changes) if known is None else replace(known, **changes)
        )


_FIELDS = (
    *("candidate_id", "number", "parent_id", "reason", "experiment_id", "origin", "hypothesis"),
    *("steps", "edits", "stage", "stage_points", "screen", "held_out", "verdict", "adoption"),
    *("started_at", "ended_at", "waits"),
)
"""Fields of a view that the fold keeps as they are."""

_APPLY: dict[type, Callable[[CandidateFold, Any], None]] = {
    ev.CandidateOpened: CandidateFold._opened,
    ev.Planned: CandidateFold._planned,
    ev.ModelCalled: CandidateFold._model_called,
    ev.ModelNoted: CandidateFold._model_noted,
    ev.CodeWritten: CandidateFold._code_written,
    ev.Reviewed: CandidateFold._reviewed,
    ev.StageStarted: CandidateFold._stage_started,
    ev.PointMeasured: CandidateFold._point_measured,
    ev.InfrastructureRetried: CandidateFold._retried,
    ev.AttemptFailed: CandidateFold._attempt_failed,
    ev.Screened: CandidateFold._screened,
    ev.Evaluated: CandidateFold._evaluated,
    ev.HeldOutTested: CandidateFold._held_out,
    ev.Judged: CandidateFold._judged,
    ev.Adopted: CandidateFold._adopted,
    ev.CandidateClosed: CandidateFold._closed,
}
