"""Remote cluster, joined through a driver process, and joined again after its head was lost.

A head that comes back without its memory is a new cluster. Tasks that ran on the old one are lost,
and each costs its job a retry that is not counted; those that waited wait on, and so do new ones
while there is no cluster. Values are put again when a task needs them.
"""

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from evocodec.domain.errors import EvocodecError, InfrastructureFailure
from evocodec.execution.contract import EngineInfo, EngineOptions
from evocodec.execution.messages import TaskItem
from evocodec.execution.worker_contract import Step, TaskLostError
from evocodec.execution.workers.driver_client import DriverClient, LinkLostError, new_number
from evocodec.execution.workers.driver_messages import (
    Cancel,
    Drop,
    EndOfStream,
    Handle,
    Open,
    Put,
    PutClip,
    Ready,
    Start,
    Take,
    TaskGone,
)
from evocodec.execution.workers.ray_connection import check_address
from evocodec.video.clips import Clip

_logger = logging.getLogger(__name__)

_FIRST_DELAY_SECONDS = 1.0
_MOST_DELAY_SECONDS = 15.0
_FIRST_TRIES = 8
_JOIN_SECONDS = 120.0
_WATCH_SECONDS = 0.5
_FIRST_BEAT_SECONDS = 10.0  # for how many slots there are; the head has just answered
_READY_GRACE_SECONDS = 5.0
_TAKE_SECONDS = 60.0


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Value:
    """A value that tasks share, and where it was put, if it was."""

    value: object
    number: int = 0
    link: DriverClient | None = None


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Kept:
    """A value that only the cluster has; gone with the link."""

    number: int
    link: DriverClient


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Stream:
    """A task; without a link it waits for one."""

    step: Step
    name: str
    arguments: tuple[object, ...]
    number: int = field(default_factory=new_number)
    link: DriverClient | None = None
    begun: bool = False
    cancelled: bool = False

    def wait_anew(self) -> None:
        """Forget a lost link, if all that was lost with it is a place in the queue."""
        kept = any(isinstance(argument, _Kept) for argument in self.arguments)
        if self.link is not None and self.link.lost and not (self.begun or kept):
            self.number, self.link = new_number(), None


class RemoteCluster:
    """Implements ``WorkerPool`` with a driver process, and another one after that."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._link: DriverClient | None = None
        self._changed = threading.Condition()
        self._placing = threading.Lock()  # two tasks must not put the same value twice
        self._dropped: deque[int] = deque()  # by the garbage collector, which may not send
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="ray-watch", daemon=True)
        self._slots = 1

    def open(self) -> EngineInfo:
        """Join the cluster; an error of this first attempt is raised."""
        check_address(self._options.address)
        link, answer = self._first_connect()
        assert isinstance(answer, EngineInfo)  # noqa: S101 - of the same Evocodec
        link.beaten.wait(_FIRST_BEAT_SECONDS)
        self._use(link)
        self._watcher.start()
        return answer

    def slots(self) -> int:
        """Number of tasks that fit at once, as the head last reported."""
        link = self._link
        if link is not None:
            self._slots = link.slots
        return self._slots

    def put(self, value: object) -> _Value:
        """Keep a value until the first task needs it."""
        return _Value(value)

    def put_clip(self, clip: Clip) -> _Value:
        """Keep a clip until the first task needs it."""
        return _Value(clip)

    def start(self, step: Step, name: str, arguments: tuple[object, ...]) -> _Stream:
        """Queue a task here or there."""
        stream = _Stream(step, name, arguments)
        self._submit(stream)
        return stream

    def ready(self, streams: Sequence[_Stream], seconds: float) -> Sequence[_Stream]:
        """Return those with something to take, the lost ones first."""
        for stream in streams:
            stream.wait_anew()
            self._submit(stream)
        lost = [stream for stream in streams if stream.link is not None and stream.link.lost]
        if lost:
            return lost
        there = {stream.number: stream for stream in streams if stream.link is not None}
        link = self._link
        if link is None or not there:
            with self._changed:
                self._changed.wait(seconds)
            return []
        try:
            numbers = link.request(Ready(tuple(there), seconds), seconds + _READY_GRACE_SECONDS)
        except (LinkLostError, TimeoutError):
            return []
        assert isinstance(numbers, tuple)  # noqa: S101 - the answer to Ready
        return [there[number] for number in numbers]

    def take(self, stream: _Stream) -> TaskItem:
        """Fetch the next value of a task."""
        item: TaskItem = self._take(stream, None)  # type: ignore[assignment]
        return item

    def take_reference(self, stream: _Stream) -> _Kept:
        """Leave the next value where it is."""
        number = new_number()
        self._take(stream, number)
        assert stream.link is not None  # noqa: S101 - or there was nothing to take
        kept = _Kept(number, stream.link)
        weakref.finalize(kept, self._dropped.append, number)
        return kept

    def cancel(self, stream: _Stream, *, force: bool) -> None:
        """Withdraw a task, or kill it; after its link is lost there is none."""
        stream.cancelled = True
        if stream.link is not None:
            try:
                stream.link.send(Cancel(stream.number, force))
            except LinkLostError as lost:
                _logger.debug("%s needs no cancelling: %s", stream.name, lost)

    def close(self, *, keep_logs: bool) -> None:
        """Leave the cluster running."""
        del keep_logs
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        if self._watcher.ident is not None:
            self._watcher.join()
        link, self._link = self._link, None
        if link is not None:
            link.end("the engine is closed", graceful=True)

    def _take(self, stream: _Stream, keep_as: int | None) -> object:
        if stream.link is None:
            raise TaskLostError("the task never began", with_node=True)
        try:
            answer = stream.link.request(Take(stream.number, keep_as), _TAKE_SECONDS)
        except LinkLostError as lost:
            raise TaskLostError(f"the cluster was lost: {lost}", with_node=True) from lost
        except TimeoutError as late:
            raise TaskLostError("the task's answer did not arrive") from late
        stream.begun = True
        match answer:
            case EndOfStream():
                raise StopIteration
            case TaskGone(reason, with_node):
                raise TaskLostError(reason, with_node=with_node)
        return answer

    def _submit(self, stream: _Stream) -> None:
        link = self._link
        if stream.link is not None or stream.cancelled or link is None:
            return
        for argument in stream.arguments:
            if isinstance(argument, _Kept) and argument.link is not link:
                stream.link = argument.link  # which is lost: the job begins anew
                return
        try:
            arguments = tuple(self._placed(argument, link) for argument in stream.arguments)
            link.send(Start(stream.number, stream.step, stream.name, arguments))
            stream.link = link
            weakref.finalize(stream, self._dropped.append, stream.number)
            self._send_drops(link)
        except LinkLostError as lost:
            _logger.debug("%s waits for another connection: %s", stream.name, lost)

    def _placed(self, argument: object, link: DriverClient) -> object:
        if isinstance(argument, _Kept):
            return Handle(argument.number)
        if not isinstance(argument, _Value):
            return argument
        with self._placing:
            if argument.link is not link:
                number, value = new_number(), argument.value
                link.send(PutClip(number, value) if isinstance(value, Clip) else Put(number, value))
                weakref.finalize(argument, self._dropped.append, number)
                argument.number, argument.link = number, link
            return Handle(argument.number)

    def _send_drops(self, link: DriverClient) -> None:
        numbers = []
        while self._dropped:
            numbers.append(self._dropped.popleft())
        if numbers:
            link.send(Drop(tuple(numbers)))

    def _first_connect(self) -> tuple[DriverClient, object]:
        """Waiting for a first node may take long enough to see a head come and go."""
        delay, lost_once = _FIRST_DELAY_SECONDS, False
        for _ in range(_FIRST_TRIES):
            try:
                return self._connect(wait_for_worker=True)
            except LinkLostError as lost:
                problem, lost_once = str(lost), True
            except InfrastructureFailure as error:
                if not lost_once:
                    raise
                problem = str(error)
            _logger.warning("the Ray cluster went while it was joined, trying again: %s", problem)
            self._closing.wait(delay)
            delay = min(2 * delay, _MOST_DELAY_SECONDS)
        message = f"cannot join the Ray cluster at {self._options.address}: {problem}"
        raise InfrastructureFailure(message)

    def _use(self, link: DriverClient) -> None:
        with self._changed:
            self._link = link
            self._changed.notify_all()

    def _connect(self, *, wait_for_worker: bool) -> tuple[DriverClient, object]:
        """Raises what Open came to, and ``LinkLostError``."""
        link = DriverClient(self._wake)
        try:
            link.send(Open(self._options, wait_for_worker))
            more = self._options.first_worker_seconds if wait_for_worker else 0.0
            answer = link.opened(_JOIN_SECONDS + more, self._closing)
            if isinstance(answer, EvocodecError):
                raise answer
        except BaseException:
            link.end("it could not connect")
            raise
        return link, answer

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _watch(self) -> None:
        """Replace the link whenever it is lost, for as long as the engine is open."""
        while not self._closing.is_set():
            link = self._link
            assert link is not None  # noqa: S101 - only this thread takes it away
            silent = link.silent_seconds()
            if not link.lost and silent <= self._options.head_seconds:
                with self._changed:
                    self._changed.wait(_WATCH_SECONDS)
                continue
            why = link.lost or f"its head has not answered for {silent:.0f} s"
            _logger.warning("lost the Ray cluster at %s: %s", self._options.address, why)
            self._link = None
            link.end(why)
            self._reconnect()

    def _reconnect(self) -> None:
        delay, since = _FIRST_DELAY_SECONDS, time.monotonic()
        while not self._closing.wait(delay):
            try:
                link, _ = self._connect(wait_for_worker=False)
            except (LinkLostError, EvocodecError, OSError) as error:  # or no process can start
                away = time.monotonic() - since
                _logger.warning("no Ray cluster for %.0f s, trying again: %s", away, error)
                delay = min(2 * delay, _MOST_DELAY_SECONDS)
            else:
                away = time.monotonic() - since
                _logger.warning("joined the Ray cluster again after %.0f s", away)
                self._use(link)
                return
