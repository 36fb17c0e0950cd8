"""View of one candidate for people and agents, computed from its events."""

from dataclasses import dataclass, replace
from functools import singledispatch

from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus, Finding, Origin, Verdict
from evocodec.domain.errors import FailureKind
from evocodec.domain.results import HeldOutResult, RatePoint, Score, ScreenResult, Stage
from evocodec.domain.vocabulary import ReviewerName


@dataclass(frozen=True, slots=True)
class FailureView:
    """Why an attempt ended without metrics; ``detail`` is untrusted text."""

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
    """Where an adopted candidate lives."""

    version: int
    commit: str
    tag: str
    pushed: bool
    push_error: str = ""


@dataclass(frozen=True, slots=True)
class CandidateView:
    """Everything the ledger says about one candidate.

    ``activity`` is what it is doing now, in words; ``done`` at the end. ``stage`` is the stage it
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
    def running(self) -> bool:
        """Whether its way has not ended."""
        return self.status is CandidateStatus.RUNNING


_STAGE_WORDS = {
    Stage.REVIEW: "review",
    Stage.SMOKE: "smoke test",
    Stage.SCREEN: "screen",
    Stage.FULL: "full evaluation",
    Stage.HELD_OUT: "held-out check",
}


def apply_event(view: CandidateView, event: ev.Event) -> CandidateView:
    """Return the candidate after one more of its events, in the order of the ledger."""
    started = view.started_at or event.at
    return _advance(event, replace(view, started_at=started))


@singledispatch
def _advance(event: ev.EventBase, view: CandidateView) -> CandidateView:
    return view


@_advance.register
def _opened(event: ev.CandidateOpened, view: CandidateView) -> CandidateView:
    return replace(view, number=event.number, parent_id=event.parent_id)


@_advance.register
def _planned(event: ev.Planned, view: CandidateView) -> CandidateView:
    return replace(
        view,
        origin=event.origin,
        hypothesis=event.hypothesis,
        steps=event.steps,
        edits=event.edits,
        activity="coding",
    )


@_advance.register
def _model_called(event: ev.ModelCalled, view: CandidateView) -> CandidateView:
    return replace(
        view,
        model_calls=view.model_calls + 1,
        prompt_tokens=view.prompt_tokens + event.prompt_tokens,
        completion_tokens=view.completion_tokens + event.completion_tokens,
        cost_usd=view.cost_usd + event.cost_usd,
    )


@_advance.register
def _code_written(event: ev.CodeWritten, view: CandidateView) -> CandidateView:
    attempt = replace(
        _attempt(view, event.attempt),
        source_sha256=event.source_sha256,
        program_bytes=event.program_bytes,
        note=event.note,
        model=event.model,
    )
    return replace(_with_attempt(view, attempt), failure=None, activity="review")


@_advance.register
def _reviewed(event: ev.Reviewed, view: CandidateView) -> CandidateView:
    attempt = _attempt(view, event.attempt)
    review = ReviewView(event.reviewer, event.accepted, event.findings)
    changed = replace(attempt, reviews=(*attempt.reviews, review))
    activity = "waiting" if event.accepted else "revising"
    return replace(_with_attempt(view, changed), activity=activity)


@_advance.register
def _stage_started(event: ev.StageStarted, view: CandidateView) -> CandidateView:
    if not view.running:
        return view  # measured once more, as what a later candidate is screened against
    known = event.stage in view.stages
    return replace(
        view,
        stage=event.stage,
        stages=view.stages if known else (*view.stages, event.stage),
        stage_points=_count(view.points, event.attempt, event.stage),
        activity=_STAGE_WORDS[event.stage],
    )


@_advance.register
def _point_measured(event: ev.PointMeasured, view: CandidateView) -> CandidateView:
    points = (*view.points, PointView(event.attempt, event.stage, event.task, event.point))
    if not view.running:
        return replace(view, points=points)
    return replace(view, points=points, stage_points=_count(points, event.attempt, event.stage))


@_advance.register
def _retried(event: ev.InfrastructureRetried, view: CandidateView) -> CandidateView:
    return replace(view, retries=view.retries + 1)


@_advance.register
def _attempt_failed(event: ev.AttemptFailed, view: CandidateView) -> CandidateView:
    failure = FailureView(event.stage, event.failure, event.message, event.detail)
    attempt = replace(_attempt(view, event.attempt), failure=failure)
    return replace(
        _with_attempt(view, attempt), failure=failure, stage=event.stage, activity="repairing"
    )


@_advance.register
def _screened(event: ev.Screened, view: CandidateView) -> CandidateView:
    activity = "waiting" if event.result.passed else "judging"
    return replace(view, screen=event.result, activity=activity)


@_advance.register
def _evaluated(event: ev.Evaluated, view: CandidateView) -> CandidateView:
    return replace(view, score=event.score, activity="judging")


@_advance.register
def _held_out(event: ev.HeldOutTested, view: CandidateView) -> CandidateView:
    return replace(view, held_out=event.result, activity="judging")


@_advance.register
def _judged(event: ev.Judged, view: CandidateView) -> CandidateView:
    activity = "adopting" if event.verdict.adopt else "recording"
    return replace(view, verdict=event.verdict, activity=activity)


@_advance.register
def _adopted(event: ev.Adopted, view: CandidateView) -> CandidateView:
    adoption = AdoptionView(event.version, event.commit, event.tag, event.pushed, event.push_error)
    return replace(view, adoption=adoption, activity="recording")


@_advance.register
def _closed(event: ev.CandidateClosed, view: CandidateView) -> CandidateView:
    return replace(
        view,
        status=event.status,
        reason=event.reason,
        experiment_id=event.experiment_id,
        ended_at=event.at,
        activity="done",
    )


def _attempt(view: CandidateView, number: int) -> AttemptView:
    found = [attempt for attempt in view.attempts if attempt.attempt == number]
    return found[0] if found else AttemptView(number)


def _with_attempt(view: CandidateView, changed: AttemptView) -> CandidateView:
    others = (attempt for attempt in view.attempts if attempt.attempt != changed.attempt)
    ordered = sorted((*others, changed), key=lambda attempt: attempt.attempt)
    return replace(view, attempts=tuple(ordered))


def _count(points: tuple[PointView, ...], attempt: int, stage: Stage) -> int:
    return sum(point.attempt == attempt and point.stage is stage for point in points)
