"""Events of an evaluation: stages, rate points, failures and what each stage found."""

from dataclasses import dataclass
from typing import Literal

from evocodec.domain.errors import FailureKind
from evocodec.domain.events.base import EventBase
from evocodec.domain.results import HeldOutResult, RatePoint, Score, ScreenResult, Stage


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


def point_key(
    candidate_id: str, attempt: int, stage: Stage, clip: str, qp: float, *, verified: bool
) -> str:
    """Return the key of the PointMeasured event for one clip at one qp.

    A point that was verified is another event than one that was not: ledgers before 0.2 have some
    of those, and what rests on verified points measures them again.
    """
    key = f"{candidate_id}/point/{attempt}/{stage}/{clip}/{qp:g}"
    return f"{key}/verified" if verified else key


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
        return point_key(
            self.candidate_id,
            self.attempt,
            self.stage,
            point.clip,
            point.qp,
            verified=point.verified,
        )


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
