"""Events of a proposal: a candidate is opened, planned, written and reviewed."""

from dataclasses import dataclass
from typing import Literal

from evocodec.domain.candidate import Finding, Origin
from evocodec.domain.events.base import EventBase
from evocodec.domain.program import ProgramFacts
from evocodec.domain.vocabulary import CallOutcome, ModelRole, NoteSubject, ReviewerName


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
    """One call of a language model, successful or not.

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
        """Whether there was a reply, usable or not."""
        return self.outcome.received


def note_key(
    candidate_id: str, role: ModelRole, attempt: int, subject: NoteSubject, at: str
) -> str:
    """Return the key of a ModelNoted event: each moment has its own."""
    return f"{candidate_id}/model/{role}/{attempt}/note/{subject}/{at}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNoted(EventBase):
    """A gateway to models waits, or has learnt something about an endpoint; ``text`` says what.

    ``seconds`` is how long it waits; 0 where that is not known.
    """

    kind: Literal["model_noted"] = "model_noted"
    role: ModelRole
    attempt: int
    subject: NoteSubject
    text: str
    seconds: float = 0.0

    @property
    def key(self) -> str:
        return note_key(self.candidate_id, self.role, self.attempt, self.subject, self.at)


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
    """Return the key of the Reviewed event of one attempt, by any reviewer."""
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
