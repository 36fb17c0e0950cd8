"""Task queue of an engine: hands to the workers first what is nearest to an adoption.

Ray starts tasks in the order in which they were submitted, and knows no priorities. So the tasks of
all candidates wait here, and workers get no more of them than their slots can take and a few ahead,
from which a slot that becomes free has its next task before we hear of it.

A task goes before another one of an earlier stage; then before one of an earlier step; then before
one of a younger candidate. Nothing waits for ever: a candidate is overtaken by those that are
further, of which there are as many as are in flight, and never by one that began after it and
has come no further.
"""

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from evocodec.domain.results import Stage
from evocodec.execution.messages import TaskItem
from evocodec.execution.worker_contract import ObjectRef, Step, TaskStream, Workers

_STAGES = (Stage.HELD_OUT, Stage.FULL, Stage.SCREEN, Stage.SMOKE)
_STEPS = (Step.VERIFY, Step.DECODE, Step.ENCODE)
_LOOK_SECONDS = 1.0  # how often the workers are asked how many slots they have


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Position in the queue: the smaller goes first."""

    stage: int
    step: int
    age: int  # of the candidate: the order in which candidates came to this engine
    serial: int


@dataclass(slots=True, order=True)
class QueuedTask:
    """A task, in the queue or with the workers; guarded by its queue."""

    place: Place
    step: Step = field(compare=False)
    name: str = field(compare=False)
    arguments: tuple[object, ...] = field(compare=False)
    stream: TaskStream = field(default=None, compare=False)  # None: the workers do not have it
    over: bool = field(default=False, compare=False)


class TaskQueue:
    """Stands between the dispatches of all candidates and the workers; any thread may call.

    ``slots`` is the number of tasks that the workers run at once, and may change. ``ahead`` says
    for that number how many more they are to have.
    """

    def __init__(
        self,
        workers: Workers,
        slots: Callable[[], int],
        ahead: Callable[[int], int],
        *,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._workers = workers
        self._slots = slots
        self._ahead = ahead
        self._look_seconds = look_seconds
        # Guards all below. Tasks are started under it: another order of two threads' starts would
        # be another order of the tasks.
        self._changed = threading.Condition()
        self._waiting: list[
            QueuedTask
        ] = []  # a heap; those that are over leave it when they come up
        self._handed_out = 0
        self._ages: dict[str, int] = {}
        self._serial = count()
        self._limit = 0
        self._looked_at = float("-inf")

    def put(self, value: object) -> ObjectRef:
        """Make a value known to the workers, once for many tasks."""
        return self._workers.put(value)

    def submit(
        self,
        candidate_id: str,
        stage: Stage,
        step: Step,
        name: str,
        arguments: tuple[object, ...],
        *,
        instead_of: QueuedTask | None = None,
    ) -> QueuedTask:
        """Queue a task, and end the one that it follows: what it leaves free goes to the first."""
        with self._changed:
            age = self._ages.setdefault(candidate_id, len(self._ages))
            place = Place(_STAGES.index(stage), _STEPS.index(step), age, next(self._serial))
            task = QueuedTask(place, step, name, arguments)
            heapq.heappush(self._waiting, task)
            if instead_of is not None:
                self._leave(instead_of)
            self._hand_out()
            return task

    def ready(self, tasks: Sequence[QueuedTask], seconds: float) -> Sequence[QueuedTask]:
        """Return those that have something to take or are over, after at most ``seconds``."""
        with self._changed:
            self._hand_out()  # there may be more slots than there were
            started = [task for task in tasks if task.stream is not None]
            if not started:
                self._changed.wait_for(
                    lambda: any(task.stream is not None for task in tasks), timeout=seconds
                )
                return []
        done = self._workers.ready([task.stream for task in started], seconds)
        return [task for task in started if any(task.stream is stream for stream in done)]

    def take(self, task: QueuedTask) -> TaskItem:
        """Return the next value of a task that has begun; see ``Workers.take``."""
        return self._workers.take(task.stream)

    def take_reference(self, task: QueuedTask) -> ObjectRef:
        """Return a reference to the next value; see ``Workers.take_reference``."""
        return self._workers.take_reference(task.stream)

    def cancel(self, task: QueuedTask, *, force: bool) -> None:
        """Withdraw a task; ``force`` kills it when it runs."""
        with self._changed:
            stream, over = task.stream, task.over
        if stream is not None and not over:
            self._workers.cancel(stream, force=force)
        self.end(task)

    def end(self, task: QueuedTask) -> None:
        """Note that a task needs no slot any more; for one that is over this does nothing."""
        with self._changed:
            self._leave(task)
            self._hand_out()

    def _leave(self, task: QueuedTask) -> None:
        if not task.over:
            task.over = True
            self._handed_out -= task.stream is not None

    def _hand_out(self) -> None:
        while self._waiting and (self._waiting[0].over or self._handed_out < self._most()):
            task = self._waiting[0]
            if not task.over:
                task.stream = self._workers.start(task.step, task.name, task.arguments)
                task.arguments = ()
                self._handed_out += 1
                self._changed.notify_all()
            heapq.heappop(self._waiting)

    def _most(self) -> int:
        now = time.monotonic()
        if now - self._looked_at >= self._look_seconds:
            slots = self._slots()
            self._limit = slots + self._ahead(slots)
            self._looked_at = now
        return self._limit
