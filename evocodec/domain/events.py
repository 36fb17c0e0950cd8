"""Typed events: recorded by the ledger, and read by every listener (display, metrics, log).

Each event has a ``key`` that is unique within its run. The ledger records a key once, so recording
again after a crash changes nothing: this is what makes a resumed run lose and repeat nothing.
``candidate_id`` is empty for events of the whole run. Blobs (programs, prompts, replies) are named
by SHA-256 and kept beside the ledger.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from evocodec.domain.beginning import Beginning, ClusterFacts, ModelBudget
from evocodec.domain.candidate import CandidateStatus, Finding, Origin, Verdict
from evocodec.domain.errors import FailureKind
from evocodec.domain.program import ProgramFacts
from evocodec.domain.results import HeldOutResult, RatePoint, RdCurve, Score, ScreenResult, Stage
from evocodec.domain.video import StreamInfo
from evocodec.domain.vocabulary import (
    CallOutcome,
    ModelRole,
    Proposer,
    ReviewerName,
    RunOutcome,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBase:
    """Fields of every event; ``at`` is UTC, ISO 8601 with milliseconds."""

    run_id: str
    at: str
    candidate_id: str = ""

    @property
    def key(self) -> str:
        """Unique within the run."""
        raise NotImplementedError


def run_started_key(resumed: int) -> str:
    """Return the key of the RunStarted event of a run that was resumed so often."""
    return f"run/started/{resumed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(EventBase):
    """A run was started, or resumed; ``resumed`` counts how often.

    ``settings`` lists all settings as texts, for people; nothing is read back from it.
    ``beginning`` is None in ledgers of versions that kept nothing to resume from.
    """

    kind: Literal["run_started"] = "run_started"
    proposer: Proposer
    seed: int
    clips: tuple[str, ...]
    settings: Mapping[str, str]
    software: Mapping[str, str]
    isolation: Mapping[str, str]
    unsafe: bool = False
    resumed: int = 0
    beginning: Beginning | None = None
    cluster: ClusterFacts = field(default_factory=ClusterFacts)
    budget: ModelBudget = field(default_factory=ModelBudget)
    notice: str = ""

    @property
    def key(self) -> str:
        return run_started_key(self.resumed)


def anchor_key(codec: str, clip: str, clip_sha256: str) -> str:
    """Return the key of the AnchorReady event of one encoder for one clip."""
    return f"anchor/{codec}/{clip}/{clip_sha256[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorReady(EventBase):
    """An anchor's curve for one clip is known.

    ``primary``: the one that scores are made with; any other is only there to be compared with.
    ``operating_psnr_y_db`` is the primary anchor's.
    """

    kind: Literal["anchor_ready"] = "anchor_ready"
    curve: RdCurve
    stream: StreamInfo
    operating_psnr_y_db: float
    cached: bool
    clip_sha256: str
    primary: bool = True

    @property
    def key(self) -> str:
        return anchor_key(self.curve.codec, self.curve.clip, self.clip_sha256)


def opened_key(candidate_id: str) -> str:
    """Return the key of a candidate's CandidateOpened event."""
    return f"{candidate_id}/opened"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateOpened(EventBase):
    """A candidate id was handed out, with its parent."""

    kind: Literal["candidate_opened"] = "candidate_opened"
    parent_id: str
    number: int

    @property
    def key(self) -> str:
        return opened_key(self.candidate_id)


def planned_key(candidate_id: str) -> str:
    """Return the key of a candidate's Planned event."""
    return f"{candidate_id}/planned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(EventBase):
    """The planner's hypothesis."""

    kind: Literal["planned"] = "planned"
    origin: Origin
    hypothesis: str
    steps: tuple[str, ...] = ()
    edits: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        return planned_key(self.candidate_id)


def reply_key(candidate_id: str, role: ModelRole, attempt: int) -> str:
    """Return the key of the ModelCalled event of a call that had a reply."""
    return f"{candidate_id}/model/{role}/{attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCalled(EventBase):
    """One call of a language model, whatever came of it.

    Without a reply the key is the failure's own, so that the call can still be recorded when it is
    made again. ``tries`` counts requests, retries included.
    """

    kind: Literal["model_called"] = "model_called"
    role: ModelRole
    attempt: int
    model: str
    prompt_sha256: str
    template_sha256: str
    reply_sha256: str
    outcome: CallOutcome
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    wall_seconds: float
    tries: int = 1

    @property
    def key(self) -> str:
        base = reply_key(self.candidate_id, self.role, self.attempt)
        return base if self.received else f"{base}/{self.outcome}/{self.at}"

    @property
    def received(self) -> bool:
        """Whether there was a reply, whatever it was worth."""
        return self.outcome.received


def code_key(candidate_id: str, attempt: int) -> str:
    """Return the key of the CodeWritten event of one attempt."""
    return f"{candidate_id}/code/{attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeWritten(EventBase):
    """The coder delivered a program; ``attempt`` counts revisions and repairs from 0.

    ``model`` is the language model that wrote it, empty where none did. ``facts`` is None in
    ledgers written before 0.2, and ``model`` is empty.
    """

    kind: Literal["code_written"] = "code_written"
    attempt: int
    source_sha256: str
    program_bytes: int
    note: str = ""
    model: str = ""
    facts: ProgramFacts | None = None

    @property
    def key(self) -> str:
        return code_key(self.candidate_id, self.attempt)


def review_key(candidate_id: str, attempt: int) -> str:
    """Return the key of the Reviewed event of one attempt, whoever reviewed it."""
    return f"{candidate_id}/review/{attempt}/gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed(EventBase):
    """The answer to one attempt, and which reviewer gave it."""

    kind: Literal["reviewed"] = "reviewed"
    attempt: int
    accepted: bool
    findings: tuple[Finding, ...] = ()
    reviewer: ReviewerName = ReviewerName.STATIC

    @property
    def key(self) -> str:
        return review_key(self.candidate_id, self.attempt)


def stage_started_key(candidate_id: str, attempt: int, stage: Stage, resumed: int) -> str:
    """Return the key of the StageStarted event of one attempt in a run resumed so often."""
    return f"{candidate_id}/stage/{attempt}/{stage}/started/{resumed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted(EventBase):
    """A candidate entered a stage."""

    kind: Literal["stage_started"] = "stage_started"
    attempt: int
    stage: Stage
    resumed: int = 0

    @property
    def key(self) -> str:
        return stage_started_key(self.candidate_id, self.attempt, self.stage, self.resumed)


def point_key(candidate_id: str, attempt: int, stage: Stage, clip: str, qp: float) -> str:
    """Return the key of the PointMeasured event for one clip at one qp."""
    return f"{candidate_id}/point/{attempt}/{stage}/{clip}/{qp:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PointMeasured(EventBase):
    """One clip at one rate: encoded, decoded in a fresh sandbox, and scored."""

    kind: Literal["point_measured"] = "point_measured"
    attempt: int
    stage: Stage
    task: str
    point: RatePoint

    @property
    def key(self) -> str:
        point = self.point
        return point_key(self.candidate_id, self.attempt, self.stage, point.clip, point.qp)


@dataclass(frozen=True, slots=True, kw_only=True)
class InfrastructureRetried(EventBase):
    """A task was lost, not by the candidate's fault, and is tried again."""

    kind: Literal["infrastructure_retried"] = "infrastructure_retried"
    task: str
    retry: int
    reason: str

    @property
    def key(self) -> str:
        return f"{self.candidate_id}/retry/{self.task}/{self.retry}/{self.at}"


def failed_key(candidate_id: str, attempt: int) -> str:
    """Return the key of the AttemptFailed event of one attempt."""
    return f"{candidate_id}/failed/{attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(EventBase):
    """An attempt ended without metrics; ``detail`` is untrusted text."""

    kind: Literal["attempt_failed"] = "attempt_failed"
    attempt: int
    stage: Stage
    failure: FailureKind
    message: str
    detail: str = ""

    @property
    def key(self) -> str:
        return failed_key(self.candidate_id, self.attempt)


def screened_key(candidate_id: str, attempt: int) -> str:
    """Return the key of the Screened event of one attempt."""
    return f"{candidate_id}/screened/{attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened(EventBase):
    """The screen stage's estimate."""

    kind: Literal["screened"] = "screened"
    attempt: int
    result: ScreenResult

    @property
    def key(self) -> str:
        return screened_key(self.candidate_id, self.attempt)


def evaluated_key(candidate_id: str, attempt: int) -> str:
    """Return the key of the Evaluated event of one attempt."""
    return f"{candidate_id}/evaluated/{attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated(EventBase):
    """A full evaluation is complete."""

    kind: Literal["evaluated"] = "evaluated"
    attempt: int
    score: Score

    @property
    def key(self) -> str:
        return evaluated_key(self.candidate_id, self.attempt)


def held_out_key(candidate_id: str, attempt: int, compared_with: str) -> str:
    """Return the key of the HeldOutTested event of one attempt against one version."""
    return f"{candidate_id}/held_out/{attempt}/{compared_with}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutTested(EventBase):
    """The held-out gate has measured a candidate; agents are only shown pass or fail."""

    kind: Literal["held_out_tested"] = "held_out_tested"
    attempt: int
    result: HeldOutResult

    @property
    def key(self) -> str:
        return held_out_key(self.candidate_id, self.attempt, self.result.compared_with)


def judged_key(candidate_id: str, compared_with: str) -> str:
    """Return the key of the Judged event of a candidate against one version."""
    return f"{candidate_id}/judged/{compared_with}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(EventBase):
    """The judge decided; once for each champion it was compared with."""

    kind: Literal["judged"] = "judged"
    verdict: Verdict

    @property
    def key(self) -> str:
        return judged_key(self.candidate_id, self.verdict.compared_with)


def adopted_key(candidate_id: str) -> str:
    """Return the key of a candidate's Adopted event."""
    return f"{candidate_id}/adopted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted(EventBase):
    """A version exists: committed, tagged, and pushed when a remote is set."""

    kind: Literal["adopted"] = "adopted"
    version: int
    commit: str
    tag: str
    pushed: bool
    push_error: str = ""

    @property
    def key(self) -> str:
        return adopted_key(self.candidate_id)


def closed_key(candidate_id: str) -> str:
    """Return the key of a candidate's CandidateClosed event."""
    return f"{candidate_id}/closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateClosed(EventBase):
    """The candidate has ended; its experiment record is written."""

    kind: Literal["candidate_closed"] = "candidate_closed"
    status: CandidateStatus
    reason: str
    experiment_id: str

    @property
    def key(self) -> str:
        return closed_key(self.candidate_id)


def run_stopped_key(resumed: int) -> str:
    """Return the key of the RunStopped event of a run that was resumed so often."""
    return f"run/stopped/{resumed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopped(EventBase):
    """The run has stopped; ``message`` says why."""

    kind: Literal["run_stopped"] = "run_stopped"
    outcome: RunOutcome
    message: str = ""
    resumed: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return run_stopped_key(self.resumed)


Event = (
    RunStarted
    | AnchorReady
    | CandidateOpened
    | Planned
    | ModelCalled
    | CodeWritten
    | Reviewed
    | StageStarted
    | PointMeasured
    | InfrastructureRetried
    | AttemptFailed
    | Screened
    | Evaluated
    | HeldOutTested
    | Judged
    | Adopted
    | CandidateClosed
    | RunStopped
)


def kinds_of(*events: type[Event]) -> tuple[str, ...]:
    """Return the ``kind`` of each type of event, to ask a ledger for those alone."""
    return tuple(get_args(event.__annotations__["kind"])[0] for event in events)
