"""Local workers: one thread per slot in this process, with the same tasks and sandboxes.

Ready in well under a second, where Ray takes five: for commands that measure one program and end.
A thread only supervises and scores; programs run in the fork servers that it owns, as they do below
a Ray worker.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.video import Frame
from evocodec.execution import tasks
from evocodec.execution.contract import EngineInfo, EngineOptions
from evocodec.execution.launchers import LauncherPool
from evocodec.execution.messages import InfraLoss, TaskItem
from evocodec.execution.worker_contract import Step, TaskLostError
from evocodec.sandbox.launcher import IsolationReport
from evocodec.video.clips import Clip

_logger = logging.getLogger(__name__)
_CLOSE_SECONDS = 10.0
_START_SECONDS = 60.0


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
    """Implements ``WorkerPool`` with threads of this process; any number in one process."""

    def __init__(self, options: EngineOptions) -> None:
        cpus = options.local_cpus or os.cpu_count() or 1
        self._options = options
        self._changed = threading.Condition()
        self._waiting: deque[_Task] = deque()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"slot-{number}", daemon=True)
            for number in range(max(1, int(cpus / options.cpus_per_task)))
        ]

    def open(self) -> EngineInfo:
        """Start a fork server a slot, and ask the first that is ready; see ``WorkerPool.open``.

        Those that would take the processor from the first ones, and from the caller, come after.
        """
        for thread in self._threads:
            thread.start()
        at_once = min(self.slots(), max(1, (os.cpu_count() or 1) // 2))
        try:
            report = self._first_report(self._warm_up(at_once))
        except BaseException:
            self.close(keep_logs=False)
            raise
        self._warm_up(self.slots() - at_once)
        return EngineInfo(
            address="local",
            dashboard_url="",
            cpus=float(self.slots() * self._options.cpus_per_task),
            gpus=0.0,
            own=True,
            isolation=report,
        )

    def slots(self) -> int:
        """Number of tasks fit at once."""
        return len(self._threads)

    def put_clip(self, clip: Clip) -> Sequence[Frame]:
        """Slots read a clip's frames where they are."""
        return clip.frames

    def put(self, value: object) -> object:
        """Values stay where they are."""
        return value

    def start(self, step: Step, name: str, arguments: tuple[object, ...]) -> _Task:
        """Queue a task for the next free slot."""
        return self.submit(name, lambda: tasks.TASKS[step](*arguments))

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
        got a slot since, and no dispatch would notice.
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

    def close(self, *, keep_logs: bool) -> None:
        """End all slots and what runs in them."""
        del keep_logs
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_CLOSE_SECONDS)

    def _warm_up(self, count: int) -> list[_Task]:
        policy, limits = self._options.policy, self._options.limits
        return [
            self.submit("warm-up", lambda: iter((tasks.describe_task(policy, limits),)))
            for _ in range(count)
        ]

    def _first_report(self, waiting: Sequence[_Task]) -> IsolationReport:
        first = self.ready(waiting, _START_SECONDS)
        if not first:
            message = f"no sandbox was ready within {_START_SECONDS:g} s"
            raise InfrastructureFailure(message)
        try:
            _, report = self.take_reference(first[0])
        except TaskLostError as error:
            raise InfrastructureFailure(str(error)) from error
        if isinstance(report, InfraLoss):
            raise InfrastructureFailure(report.reason)
        found: IsolationReport = report
        return found

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
