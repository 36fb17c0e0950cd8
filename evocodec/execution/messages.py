"""Messages from a task to the controller: progress, then exactly one outcome.

Failures travel as data, because an exception that crosses processes may lose its type on the way,
and then a candidate's failure and ours could be taken for one another.
"""

from dataclasses import dataclass
from typing import TypeAlias

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import RatePoint, ResourceUse
from evocodec.domain.video import StreamInfo
from evocodec.sandbox.policy import Limits, Policy


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """Data that all tasks of one rate job share."""

    clip: str
    stream: StreamInfo  # frame_count is the job's, not the clip's
    qp: float
    writer_id: str
    limits: Limits
    policy: Policy
    vmaf: bool = False


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """The task runs in this worker process: its deadline starts now."""

    pid: int
    node: str
    node_id: str = ""  # what its cluster calls the node, where there is one


@dataclass(frozen=True, slots=True)
class Encoded:
    """The encoder finished; the next item of the task is the stream: an ``.evc`` file's bytes."""

    use: ResourceUse


@dataclass(frozen=True, slots=True)
class Decoded:
    """The decoder finished and gave acceptable frames; scoring starts now."""

    digest: str


@dataclass(frozen=True, slots=True)
class Scored:
    """The rate point."""

    point: RatePoint


@dataclass(frozen=True, slots=True)
class Verified:
    """A second decode gave the same frames."""


@dataclass(frozen=True, slots=True)
class CandidateFailed:
    """The program under test failed."""

    kind: FailureKind
    message: str
    detail: str

    def to_error(self) -> CandidateFailure:
        """Return the exception that the controller raises."""
        return CandidateFailure(self.kind, self.message, detail=self.detail)


@dataclass(frozen=True, slots=True)
class InfraLoss:
    """Our side failed; the job may be tried again."""

    reason: str


TaskItem: TypeAlias = (
    TaskStarted | Encoded | Decoded | Scored | Verified | CandidateFailed | InfraLoss
)
