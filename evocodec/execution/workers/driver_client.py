"""Client of the driver process, which holds a Ray connection: sends requests, receives reports."""

import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import Pipe

from evocodec.execution.workers.driver_messages import (
    Answer,
    Close,
    Heartbeat,
    Opened,
    Order,
    Question,
    Ready,
    Take,
)

_OPEN = 0  # the number under which what came of Open is waited for

_END_SECONDS = 10.0
_TAIL_BYTES = 4096
_WORDS = 160  # characters of them that go into a reason
# With Ray's own two minutes, what was sent to a machine that went without a word keeps waiting for
# its answer, and so do the tasks that were to come after it (ray-project/ray#63405). The chart sets
# the same for all nodes.
_RAY_SETTINGS = {"RAY_grpc_client_keepalive_timeout_ms": "20000"}
_numbers = itertools.count(1)


def new_number() -> int:
    """Return a number that no value, stream or question of this process has had."""
    return next(_numbers)


class LinkLostError(Exception):
    """The process is gone, or is not to be used any more; the message says why."""


class DriverClient:
    """Owns the process. Any thread may call; ``on_change`` is called at its end."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._waiting_lock = threading.Lock()  # between asking and giving up
        self._waiting: dict[int, Future[object]] = {}
        self._beat_at = time.monotonic()
        self._lost = ""
        self._sending = threading.Lock()  # a message is several writes
        self.slots = 1
        self.beaten = threading.Event()  # once: until then the slots are a guess
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._opened = self._question(_OPEN)
        ours, theirs = Pipe()
        self._connection = ours
        with theirs:
            # A session of its own: Ctrl-C is for the controller, which then closes in order.
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "evocodec.execution.workers.ray_driver",
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                env={**_RAY_SETTINGS, **os.environ},
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, name="ray-driver", daemon=True)
        self._reader.start()

    @property
    def lost(self) -> str:
        """Why the link is of no use any more; empty while it is."""
        return self._lost

    def silent_seconds(self) -> float:
        """Seconds since the last answer of the head."""
        return time.monotonic() - self._beat_at

    def opened(self, seconds: float, stop: threading.Event) -> object:
        """Wait for the reply to Open; raises ``LinkLostError``, after ``seconds`` too."""
        until = time.monotonic() + seconds
        while True:
            try:
                answer = self._opened.result(0.2)
            except TimeoutError:
                if stop.is_set():
                    raise LinkLostError("the engine closes") from None
                if time.monotonic() > until:
                    raise LinkLostError(f"Ray did not answer within {seconds:g} s") from None
            else:
                self._beat_at = time.monotonic()
                return answer

    def send(self, order: Order) -> None:
        """Send an order; no reply is awaited."""
        self._require()
        try:
            with self._sending:
                self._connection.send(order)
        except OSError as error:
            raise LinkLostError(self._lost or str(error)) from error

    def request(self, request: Ready | Take, seconds: float) -> object:
        """Return the answer; raises ``LinkLostError``, and ``TimeoutError`` after ``seconds``."""
        number = new_number()
        answer = self._question(number)
        try:
            self.send(Question(number, request))
            return answer.result(seconds)
        finally:
            with self._waiting_lock:
                self._waiting.pop(number, None)

    def end(self, reason: str, *, graceful: bool = False) -> None:
        """End the process; ``graceful``: let it leave the cluster first."""
        if graceful:
            self._request_leave()
        self._give_up(reason)
        self._process.kill()
        self._process.wait()
        self._reader.join()
        with self._sending:  # whoever is in the middle of it fails, now that nobody reads
            self._connection.close()
        self._output.close()

    def output_tail(self) -> str:
        """The end of what the process printed."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _TAIL_BYTES))
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:_WORDS] if lines else "it printed nothing"

    def _request_leave(self) -> None:
        # A driver that hangs takes nothing in: telling it may wait as long as it lives.
        limit = threading.Timer(_END_SECONDS, self._process.kill)
        limit.start()
        with suppress(LinkLostError):
            self.send(Close())
            self._process.wait()
        limit.cancel()

    def _require(self) -> None:
        if self._lost:
            raise LinkLostError(self._lost)

    def _question(self, number: int) -> Future[object]:
        answer: Future[object] = Future()
        with self._waiting_lock:
            self._require()
            self._waiting[number] = answer
        return answer

    def _answer(self, number: int, value: object) -> None:
        with self._waiting_lock:
            answer = self._waiting.pop(number, None)  # None: nobody waits for it any more
        if answer is not None:
            answer.set_result(value)

    def _give_up(self, reason: str) -> None:
        with self._waiting_lock:
            self._lost = self._lost or reason
            waiting = tuple(self._waiting.values())
            self._waiting.clear()
        for answer in waiting:
            answer.set_exception(LinkLostError(self._lost))

    def _read(self) -> None:
        try:
            while True:
                self._take_in(self._connection.recv())
        except (EOFError, OSError):
            self._process.wait()
            self._give_up(f"its driver ended ({self._process.returncode}): {self.output_tail()}")
            self._on_change()

    def _take_in(self, report: object) -> None:
        match report:
            case Heartbeat(slots):
                self.slots, self._beat_at = slots, time.monotonic()
                self.beaten.set()
            case Answer(number, value):
                self._answer(number, value)
            case Opened(answer):
                self._answer(_OPEN, answer)
