"""Events of a decision: a candidate is judged, adopted and closed."""

from dataclasses import dataclass
from typing import Literal

from evocodec.domain.candidate import CandidateStatus, Verdict
from evocodec.domain.events.base import EventBase


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
