"""Dispatch of one candidate's tasks: submit, follow, retry, cancel.

One thread owns one Dispatch. All of an engine share a queue, which says whose task is next. The
deadlines and the retries are ours, because a task that waits for a slot must not run out of time,
and because no scheduler can tell our failures from the candidate's.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from evocodec.domain.errors import CandidateFailure, InfrastructureFailure, Interrupted
from evocodec.domain.results import RatePoint, ResourceUse
from evocodec.execution.contract import OnPoint, OnRetry
from evocodec.execution.jobs import RateJob
from evocodec.execution.messages import (
    CandidateFailed,
    Decoded,
    Encoded,
    InfraLoss,
    Scored,
    TaskItem,
    TaskSpec,
    TaskStarted,
    Verified,
)
from evocodec.execution.task_queue import QueuedTask, TaskQueue
from evocodec.execution.worker_contract import ObjectRef, Step, TaskLostError

_logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
# A program that fails on one clip mostly fails on the others at the same moment. Waiting this long
# for tasks to end by themselves keeps warm workers that a kill would cost.
_LINGER_SECONDS = 1.0
# Machines come and go, and no program can make them: such losses hardly count. Hardly, because a
# job that loses every machine it meets must end some time.
_NODE_LOSSES = 50


# A verifying task starts a fork server of another kind first, and puts what jobs may read out of
# the memory of a machine that may be busy: thousands of files.
_TIMES_LONGER = {Step.VERIFY: 2.0}


@dataclass(frozen=True, slots=True)
class Submitter:
    """Data that all tasks of one candidate need."""

    queue: TaskQueue
    frames: Mapping[str, ObjectRef]
    program: str
    spec: Callable[[RateJob], TaskSpec]


@dataclass(slots=True, eq=False)
class _Progress:
    """State of one job; mutable, owned by its Dispatch."""

    job: RateJob
    name: str
    verify: bool
    step: Step = Step.ENCODE
    task: QueuedTask | None = None
    deadline: float | None = None  # monotonic; None while the task waits for a slot
    retries: int = 0
    node_losses: int = 0  # how many of the retries were for a node that went
    encode_use: ResourceUse | None = None
    encoded: ObjectRef = None  # the .evc file's bytes
    digest: str = ""
    point: RatePoint | None = None


class Dispatch:
    """Runs the jobs of one candidate to their end; see ``Engine.run_jobs`` for the outcomes."""

    def __init__(
        self,
        submitter: Submitter,
        *,
        retries: int,
        phase_seconds: float,
        on_point: OnPoint,
        on_retry: OnRetry,
        stops: Sequence[threading.Event],
    ) -> None:
        self._submitter = submitter
        self._queue = submitter.queue
        self._retries = retries
        self._phase_seconds = phase_seconds
        self._on_point = on_point
        self._on_retry = on_retry
        self._stops = stops
        self._candidate_id = ""
        self._live: list[_Progress] = []
        self._program: ObjectRef = None

    def run(self, candidate_id: str, jobs: Sequence[RateJob], *, verify: bool) -> None:
        """Run all jobs; after an exception, no task of this candidate continues."""
        self._candidate_id = candidate_id
        self._live = [_Progress(job, job.task_name(candidate_id), verify=verify) for job in jobs]
        self._program = self._queue.put(self._submitter.program)  # once, not with every task
        drain = 0.0
        try:
            for progress in self._live:
                self._submit(progress, Step.ENCODE)
            while self._live:
                if any(stop.is_set() for stop in self._stops):
                    message = f"{candidate_id} was interrupted; the run can resume"
                    raise Interrupted(message)
                for progress, task in self._ready():
                    self._advance(progress, task)
                self._expire()
        except CandidateFailure:
            drain = _LINGER_SECONDS
            raise
        finally:
            self._abandon(drain)

    def busy(self) -> int:
        """Number of its tasks that run now; thread-safe."""
        return sum(progress.deadline is not None for progress in tuple(self._live))

    def waiting(self) -> int:
        """Number of its tasks that wait for a slot; thread-safe."""
        return sum(progress.deadline is None for progress in tuple(self._live))

    def _submit(self, progress: _Progress, step: Step) -> None:
        submitter = self._submitter
        spec = submitter.spec(progress.job)
        frames = submitter.frames[progress.job.clip]
        arguments: dict[Step, tuple[object, ...]] = {
            Step.ENCODE: (frames, self._program, spec),
            Step.DECODE: (frames, self._program, progress.encoded, progress.encode_use, spec),
            Step.VERIFY: (self._program, progress.encoded, progress.digest, spec),
        }
        progress.step = step
        progress.deadline = None
        progress.task = self._queue.submit(
            self._candidate_id,
            progress.job.stage,
            step,
            f"{progress.name}/{step}",
            arguments[step],
            instead_of=progress.task,
        )

    def _ready(self) -> list[tuple[_Progress, QueuedTask]]:
        by_task = {id(p.task): p for p in self._live}
        tasks = [progress.task for progress in self._live if progress.task is not None]
        done = self._queue.ready(tasks, _POLL_SECONDS)
        return [(by_task[id(task)], task) for task in done]

    def _advance(self, progress: _Progress, task: QueuedTask) -> None:
        try:
            item = self._next_item(progress, task)
        except StopIteration:
            self._retry(progress, "the task ended without an outcome")
            return
        except TaskLostError as lost:
            progress.node_losses += lost.with_node
            self._retry(progress, str(lost))
            return
        if progress.deadline is not None or isinstance(item, TaskStarted):
            progress.deadline = time.monotonic() + self._allowed_seconds(progress)
        self._handle(progress, item)

    def _next_item(self, progress: _Progress, task: QueuedTask) -> TaskItem:
        item = self._queue.take(task)
        if isinstance(item, Encoded):
            progress.encoded = self._queue.take_reference(task)
        return item

    def _handle(self, progress: _Progress, item: TaskItem) -> None:
        match item:
            case TaskStarted(pid=pid, node=node):
                _logger.debug("%s/%s began: pid %d, %s", progress.name, progress.step, pid, node)
            case Encoded(use=use):
                progress.encode_use = use
                self._submit(progress, Step.DECODE)
            case Decoded(digest=digest):
                progress.digest = digest
            case Scored(point=point) if progress.verify:
                progress.point = point
                self._submit(progress, Step.VERIFY)
            case Scored(point=point):
                self._finish(progress, point)
            case Verified() if progress.point is not None:
                self._finish(progress, replace(progress.point, verified=True))
            case CandidateFailed():
                raise item.to_error()
            case InfraLoss(reason=reason):
                self._retry(progress, reason)

    def _finish(self, progress: _Progress, point: RatePoint) -> None:
        self._remove(progress)
        self._on_point(progress.job, point)

    def _remove(self, progress: _Progress) -> None:
        self._live.remove(progress)
        if progress.task is not None:
            self._queue.end(progress.task)

    def _expire(self) -> None:
        now = time.monotonic()
        for progress in list(self._live):
            if progress.task is None or progress.deadline is None:
                continue
            if now > progress.deadline:
                self._queue.cancel(progress.task, force=True)
                self._retry(progress, f"no answer within {self._allowed_seconds(progress):g} s")

    def _allowed_seconds(self, progress: _Progress) -> float:
        return self._phase_seconds * _TIMES_LONGER.get(progress.step, 1.0)

    def _retry(self, progress: _Progress, reason: str) -> None:
        progress.retries += 1
        task = f"{progress.name}/{progress.step}"
        if (
            progress.retries - progress.node_losses > self._retries
            or progress.node_losses > _NODE_LOSSES
        ):
            self._remove(progress)
            message = (
                f"{task} was lost {progress.retries} times, the last time because: {reason}. "
                "The program is not to blame. See the logs, and `evocodec doctor`"
            )
            raise InfrastructureFailure(message)
        self._on_retry(task, progress.retries, reason)
        # From the beginning: the encoded file may have gone with the worker's node.
        progress.encoded = progress.encode_use = progress.point = None
        self._submit(progress, Step.ENCODE)

    def _abandon(self, drain: float) -> None:
        """Let nothing run on: queued tasks are withdrawn, running ones killed after ``drain``."""
        running = []
        for progress in self._live:
            if progress.task is None:
                continue
            if progress.deadline is None:
                self._queue.cancel(progress.task, force=False)
            else:
                running.append(progress.task)
        self._live = []
        until = time.monotonic() + drain
        for task in running:
            if self._ends_before(task, until):
                self._queue.end(task)
            else:
                self._queue.cancel(task, force=True)

    def _ends_before(self, task: QueuedTask, until: float) -> bool:
        try:
            while True:
                if not self._queue.ready([task], max(0.0, until - time.monotonic())):
                    return False
                self._queue.take_reference(task)
        except (StopIteration, TaskLostError):
            return True
