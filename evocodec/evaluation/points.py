"""Rate points of one candidate in one stage: read from its events, or measured if missing.

Every point is an event, recorded before the next step relies on it. Coming back after a crash, a
stage measures only the points that have no event yet.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from evocodec.codec.program import Program
from evocodec.domain.events import (
    Event,
    InfrastructureRetried,
    PointMeasured,
    StageStarted,
    point_key,
)
from evocodec.domain.results import RatePoint, Stage
from evocodec.execution.contract import JobRunner
from evocodec.execution.jobs import RateJob
from evocodec.metrics.series import store_series

Record = Callable[[Event], object]
Recorded = Callable[[str], Event | None]


@dataclass(frozen=True, slots=True)
class StageAttempt:
    """One attempt of one candidate in one stage."""

    candidate_id: str
    attempt: int
    stage: Stage
    program: Program


@dataclass(frozen=True, slots=True)
class PointMeasurer:
    """Runs rate jobs on an engine; any number of threads, one for each candidate.

    ``record`` must be durable when it returns; ``recorded`` gives the event that has a key.
    ``store_series`` stores bytes and names them: per-frame figures go there before the event is
    recorded; without it they stay in the points.
    """

    engine: JobRunner
    run_id: str
    record: Record
    recorded: Recorded
    now: Callable[[], str]
    stop: threading.Event | None
    store_series: Callable[[bytes], str] | None

    def points(
        self,
        stage_attempt: StageAttempt,
        jobs: Sequence[RateJob],
        *,
        verify: bool = False,
        announce: bool = True,
    ) -> dict[RateJob, RatePoint]:
        """Return a point for every job, measuring those that have no event yet.

        With ``verify`` every stream is decoded a second time, by a fresh decoder in other
        surroundings, before its point counts; a recorded point that was not is no such point.
        ``announce`` records that the stage began, where anything is missing.

        Raises:
            CandidateFailure: the program failed.
            InfrastructureFailure: it was lost too often because of the infrastructure.
            Interrupted: ``stop`` was set.
        """
        points: dict[RateJob, RatePoint] = {}
        for job in jobs:
            known = self.recorded(_key(stage_attempt, job, verified=verify))
            if isinstance(known, PointMeasured):
                points[job] = known.point
        missing = [job for job in jobs if job not in points]
        if not missing:
            return points
        if announce:
            self._announce(stage_attempt)

        def on_point(job: RateJob, point: RatePoint) -> None:
            if self.store_series is not None:
                point = store_series(point, self.store_series)
            self._record_point(stage_attempt, job, point)
            points[job] = point

        def on_retry(task: str, retry: int, reason: str) -> None:
            self._record_retry(stage_attempt, task, retry, reason)

        self.engine.run_jobs(
            stage_attempt.candidate_id,
            stage_attempt.program.text,
            missing,
            on_point=on_point,
            on_retry=on_retry,
            stop=self.stop,
            verify=verify,
        )
        return points

    def _announce(self, stage_attempt: StageAttempt) -> None:
        """Record the start of the stage; a resumed start is recorded again."""
        for resumed in count():
            event = StageStarted(
                run_id=self.run_id,
                at=self.now(),
                candidate_id=stage_attempt.candidate_id,
                attempt=stage_attempt.attempt,
                stage=stage_attempt.stage,
                resumed=resumed,
            )
            if self.recorded(event.key) is None:
                self.record(event)
                return

    def _record_point(self, stage_attempt: StageAttempt, job: RateJob, point: RatePoint) -> None:
        self.record(
            PointMeasured(
                run_id=self.run_id,
                at=self.now(),
                candidate_id=stage_attempt.candidate_id,
                attempt=stage_attempt.attempt,
                stage=stage_attempt.stage,
                task=job.task_name(stage_attempt.candidate_id),
                point=point,
            )
        )

    def _record_retry(
        self, stage_attempt: StageAttempt, task: str, retry: int, reason: str
    ) -> None:
        self.record(
            InfrastructureRetried(
                run_id=self.run_id,
                at=self.now(),
                candidate_id=stage_attempt.candidate_id,
                task=task,
                retry=retry,
                reason=reason,
            )
        )


def _key(stage_attempt: StageAttempt, job: RateJob, *, verified: bool) -> str:
    return point_key(
        stage_attempt.candidate_id,
        stage_attempt.attempt,
        stage_attempt.stage,
        job.clip,
        job.qp,
        verified=verified,
    )
