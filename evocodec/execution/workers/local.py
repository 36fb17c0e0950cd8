"""Local workers: one thread per slot in this process, with the same tasks and sandboxes.

Ready in well under a second, where Ray takes five: for commands that measure one program and end.
A thread only supervises and scores; programs run in the fork servers that it owns, as they do below
a Ray worker.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.results import Stage
from evocodec.execution import tasks
from evocodec.execution.contract import EngineInfo, EngineOptions, OnPoint, OnRetry
from evocodec.execution.dispatch import Dispatch, Step, Submitter, TaskLostError
from evocodec.execution.jobs import RateJob
from evocodec.execution.launchers import LauncherPool
from evocodec.execution.messages import InfraLoss, TaskItem, TaskSpec
from evocodec.video.clips import Clip

_logger = logging.getLogger(__name__)
_CLOSE_SECONDS = 10.0
_START_SECONDS = 60.0
_TASKS: Mapping[Step, Callable[..., Iterator[Any]]] = {
    Step.ENCODE: tasks.encode_task,
    Step.DECODE: tasks.decode_task,
    Step.VERIFY: tasks.verify_task,
}


@dataclass(slots=True, eq=False)
class _Task:
    """A task and what it has yielded so far; guarded by the workers' condition."""

    name: str
    call: Callable[[], Iterator[Any]]
    items: deque[Any] = field(default_factory=deque)
    over: bool = False
    error: str = ""
    pool: LauncherPool | None = None  # of the slot that runs it now
    killed: bool = False


class LocalWorkers:
    """Implements ``Workers`` with threads of this process."""

    def __init__(self, slots: int) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[_Task] = deque()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"slot-{number}", daemon=True)
            for number in range(slots)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, value: object) -> object:
        """Values stay where they are."""
        return value

    def start(self, step: Step, name: str, arguments: tuple[object, ...]) -> _Task:
        """Queue a task for the next free slot."""
        return self.submit(name, lambda: _TASKS[step](*arguments))

    def submit(self, name: str, call: Callable[[], Iterator[Any]]) -> _Task:
        """Queue anything that yields."""
        task = _Task(name, call)
        with self._changed:
            self._waiting.append(task)
            self._changed.notify_all()
        return task

    def ready(self, streams: Sequence[_Task], seconds: float) -> Sequence[_Task]:
        """Return what has something to take, or is over."""

        def found() -> list[_Task]:
            return [task for task in streams if task.items or task.over]

        with self._changed:
            self._changed.wait_for(found, timeout=seconds)
            return found()

    def take(self, stream: _Task) -> TaskItem:
        """Return the next value, waiting for it."""
        item: TaskItem = self.take_reference(stream)
        return item

    def take_reference(self, stream: _Task) -> Any:
        """Return the next value: here it is its own reference."""
        with self._changed:
            self._changed.wait_for(lambda: stream.items or stream.over)
            if stream.items:
                return stream.items.popleft()
        if stream.error:
            raise TaskLostError(stream.error)
        raise StopIteration

    def cancel(self, stream: _Task, *, force: bool) -> None:
        """Withdraw a task; one that runs ends with its programs.

        Without ``force`` too: a task that was still waiting when its dispatch last looked may have
        got a slot since, and nobody would hear of it any more.
        """
        del force
        with self._changed:
            with suppress(ValueError):
                self._waiting.remove(stream)
                stream.over = True
            pool = stream.pool
            if pool is None:
                return
            stream.killed = True
        pool.interrupt()

    def close(self) -> None:
        """End all slots and what runs in them."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_CLOSE_SECONDS)

    def _work(self) -> None:
        pool = tasks.worker_pool()
        try:
            while (task := self._next(pool)) is not None:
                self._run(task, pool)
        finally:
            pool.close()

    def _next(self, pool: LauncherPool) -> _Task | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            task = self._waiting.popleft()
            task.pool = pool
            return task

    def _run(self, task: _Task, pool: LauncherPool) -> None:
        error = ""
        try:
            for item in task.call():
                with self._changed:
                    if task.killed:
                        break
                    task.items.append(item)
                    self._changed.notify_all()
        except Exception as caught:  # a task's edge, as a worker process is
            _logger.exception("%s failed", task.name)
            error = f"{type(caught).__name__}: {caught}"
        with self._changed:
            task.pool, task.error, task.over = None, error, True
            self._changed.notify_all()
        if task.killed or error:
            pool.close()  # its fork servers may have been ended under it


class LocalEngine:
    """Implements ``Engine`` on this machine alone; any number in one process."""

    def __init__(self, options: EngineOptions) -> None:
        cpus = options.local_cpus or os.cpu_count() or 1
        self._options = options
        self._slots = max(1, int(cpus / options.cpus_per_task))
        self._workers: LocalWorkers | None = None
        self._clips: dict[str, Clip] = {}
        self._closing = threading.Event()
        self._idle = threading.Condition()
        self._running: list[Dispatch] = []

    def start(self) -> EngineInfo:
        """Start a fork server a slot, and ask the first that is ready; see ``Engine.start``.

        Those that would take the processor from the first ones, and from the caller, come after.
        """
        self._workers = workers = LocalWorkers(self._slots)
        policy = self._options.policy
        at_once = min(self._slots, max(1, (os.cpu_count() or 1) // 2))

        def warm_up(count: int) -> list[_Task]:
            return [
                workers.submit("warm-up", lambda: iter((tasks.describe_task(policy),)))
                for _ in range(count)
            ]

        waiting = warm_up(at_once)
        try:
            first = workers.ready(waiting, _START_SECONDS)
            if not first:
                message = f"no sandbox was ready within {_START_SECONDS:g} s"
                raise InfrastructureFailure(message)
            _, report = workers.take_reference(first[0])
            if isinstance(report, InfraLoss):
                raise InfrastructureFailure(report.reason)
            warm_up(self._slots - at_once)
        except TaskLostError as error:
            self.close()
            raise InfrastructureFailure(str(error)) from error
        except BaseException:
            self.close()
            raise
        return EngineInfo(
            address="local",
            dashboard_url="",
            cpus=float(self._slots * self._options.cpus_per_task),
            gpus=0.0,
            own=True,
            isolation=report,
        )

    def put_clip(self, clip: Clip) -> None:
        """Keep a clip: slots read its frames where they are."""
        self._require_workers()
        self._clips[clip.name] = clip

    def slots(self) -> int:
        """Number of tasks that fit at once."""
        return self._slots

    def busy(self) -> int:
        """Number of tasks that run now; see ``Engine.busy``."""
        # A task that has just ended counts until its dispatch hears of it, beside the next one.
        return min(self._slots, sum(dispatch.busy() for dispatch in tuple(self._running)))

    def waiting(self) -> int:
        """Number of tasks that wait for a slot; see ``Engine.waiting``."""
        return sum(dispatch.waiting() for dispatch in tuple(self._running))

    def run_jobs(
        self,
        candidate_id: str,
        source: str,
        jobs: Sequence[RateJob],
        *,
        on_point: OnPoint,
        on_retry: OnRetry,
        stop: threading.Event | None = None,
        verify: RateJob | None = None,
    ) -> None:
        """Measure one program; see ``Engine.run_jobs``."""
        if not jobs:
            return
        clips = dict(self._clips)
        dispatch = Dispatch(
            Submitter(
                self._require_workers(),
                {name: clip.frames for name, clip in clips.items()},
                source,
                lambda job: self._spec(job, clips[job.clip]),
            ),
            retries=self._options.retries,
            phase_seconds=self._options.limits.wall_seconds + self._options.grace_seconds,
            on_point=on_point,
            on_retry=on_retry,
            stops=(self._closing,) if stop is None else (self._closing, stop),
        )
        with self._idle:
            self._require_workers()
            self._running.append(dispatch)
        try:
            dispatch.run(candidate_id, jobs, verify)
        finally:
            with self._idle:
                self._running.remove(dispatch)
                self._idle.notify_all()

    def close(self) -> None:
        """End the fork servers and all that runs in them."""
        self._closing.set()
        with self._idle:
            self._idle.wait_for(lambda: not self._running, timeout=_CLOSE_SECONDS)
        workers, self._workers = self._workers, None
        self._clips.clear()
        if workers is not None:
            workers.close()

    def _require_workers(self) -> LocalWorkers:
        if self._workers is None:
            message = "the engine is not running: start() comes first, and close() is final"
            raise InfrastructureFailure(message)
        return self._workers

    def _spec(self, job: RateJob, clip: Clip) -> TaskSpec:
        options = self._options
        stream = replace(clip.stream, frame_count=job.frames)
        return TaskSpec(
            *(job.clip, stream, job.qp, options.writer_id, options.limits, options.policy),
            vmaf=options.vmaf and job.stage is Stage.FULL,
        )
