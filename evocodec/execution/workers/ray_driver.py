"""Driver process that holds the controller's connection to a Ray cluster: ``-m … FD``.

Ray ends the process that has lost its head for a minute, at once and from C++, and calls that ask
the head never return. Both happen here, where they cost nothing but this process: the controller
(``remote_cluster``) starts another one.
"""

import itertools
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

from ray.exceptions import RayError

from evocodec.domain.errors import EvocodecError
from evocodec.execution.worker_contract import TaskLostError
from evocodec.execution.workers.driver_messages import (
    Answer,
    Cancel,
    Close,
    Drop,
    EndOfStream,
    Handle,
    Heartbeat,
    Open,
    Opened,
    Order,
    Put,
    PutClip,
    Question,
    Ready,
    Report,
    Start,
    Take,
    TaskGone,
)
from evocodec.execution.workers.ray_cluster import RayCluster
from evocodec.execution.workers.ray_tasks import RayTask

_BEAT_SECONDS = 1.0
_BEATS_A_LOOK = 3  # at all nodes, of which there may be hundreds
_MOST_THREADS = 256  # one for each of the controller's that asks


class Driver:
    """Serves one controller until it closes or is gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()  # a message is several writes
        self._held: dict[int, object] = {}  # values' references, streams, and what went wrong
        self._cluster: RayCluster | None = None

    def serve(self) -> None:
        """Carry out the orders; orders that may wait for something are done aside."""
        with ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="ask") as aside:
            while True:
                order: Order = self._connection.recv()
                match order:
                    case Close():
                        break
                    case Question():
                        aside.submit(self._answer, order)
                    case _:
                        self._obey(order)
        if self._cluster is not None:
            self._cluster.close(keep_logs=True)

    def _obey(self, order: Order) -> None:
        match order:
            case Open(options, wait_for_worker):
                self._open(RayCluster(options), wait_for_worker=wait_for_worker)
            case Put(number, value):
                self._hold(number, lambda: self._ray.put(value))
            case PutClip(number, clip):
                self._hold(number, lambda: self._ray.put_clip(clip))
            case Start(number, step, name, arguments):
                self._hold(
                    number,
                    lambda: self._ray.start(
                        step, name, tuple(self._resolve(argument) for argument in arguments)
                    ),
                )
            case Cancel(number, force):
                stream = self._held.get(number)
                if isinstance(stream, RayTask):
                    self._ray.cancel(stream, force=force)
            case Drop(numbers):
                for number in numbers:
                    self._held.pop(number, None)

    @property
    def _ray(self) -> RayCluster:
        assert self._cluster is not None  # noqa: S101 - Open comes first
        return self._cluster

    def _open(self, cluster: RayCluster, *, wait_for_worker: bool) -> None:
        self._cluster = cluster
        try:
            answer: object = cluster.open() if wait_for_worker else None
            if not wait_for_worker:
                cluster.connect()
        except EvocodecError as error:
            answer = error
        self._send(Opened(answer))
        if not isinstance(answer, EvocodecError):
            threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def _beat(self) -> None:
        """Ask the head over and over; while it is away the question hangs, and no beat comes."""
        pause = threading.Event()
        for beat in itertools.count():
            if beat % _BEATS_A_LOOK == 0:
                self._ray.look_at_nodes()
            self._send(Heartbeat(self._ray.slots()))
            pause.wait(_BEAT_SECONDS)

    def _hold(self, number: int, make: Callable[[], object]) -> None:
        try:
            self._held[number] = make()
        except (RayError, TaskLostError) as error:
            self._held[number] = TaskGone(f"{type(error).__name__}: {error}", with_node=True)

    def _resolve(self, argument: object) -> object:
        if not isinstance(argument, Handle):
            return argument
        value = self._held.get(argument.number)
        if value is None or isinstance(value, TaskGone):
            raise TaskLostError("what the task needs is no longer there", with_node=True)
        return value

    def _answer(self, question: Question) -> None:
        request = question.request
        if isinstance(request, Ready):
            self._send(Answer(question.number, self._ready(request)))
        else:
            self._send(Answer(question.number, self._take(request)))

    def _ready(self, request: Ready) -> tuple[int, ...]:
        held = {number: self._held.get(number) for number in request.numbers}
        tasks = {task: n for n, task in held.items() if isinstance(task, RayTask)}
        broken = tuple(held.keys() - tasks.values())
        if broken:
            return broken
        return tuple(tasks[task] for task in self._ray.ready(list(tasks), request.seconds))

    def _take(self, request: Take) -> object:
        stream = self._held.get(request.number)
        if not isinstance(stream, RayTask):
            return stream or TaskGone("the task is not known any more", with_node=True)
        try:
            if request.keep_as is None:
                return self._ray.take(stream)
            self._held[request.keep_as] = self._ray.take_reference(stream)
        except StopIteration:
            return EndOfStream()
        except TaskLostError as lost:
            return TaskGone(str(lost), lost.with_node)
        return None

    def _send(self, report: Report) -> None:
        try:
            with self._sending:
                self._connection.send(report)
        except OSError:
            os._exit(0)  # the controller is gone, and nobody else wants this connection


def main() -> None:
    """Serve the controller at the other end of the pipe; end when it does."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        Driver(Connection(int(sys.argv[1]))).serve()
    except EOFError:
        os._exit(0)


if __name__ == "__main__":
    main()
