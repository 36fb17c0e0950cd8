"""One process that holds a Ray connection, seen from the controller: orders in, reports out."""

import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe

from evocodec.execution.driver_messages import Answer, Ask, Beat, Close, Opened, Order, Ready, Take

_END_SECONDS = 10.0
_TAIL_BYTES = 4096
_numbers = itertools.count(1)


def new_number() -> int:
    """Return a number that no value, stream or question of this process has had."""
    return next(_numbers)


class LinkLostError(Exception):
    """The process is gone, or is not to be used any more; the message says why."""


class DriverLink:
    """Owns the process. Any thread may call; ``on_change`` is told of beats and of the end."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._changed = threading.Condition()
        self._answers: dict[int, object] = {}
        self._opened: Opened | None = None
        self._beat_at = time.monotonic()
        self._lost = ""
        self._sending = threading.Lock()  # a message is several writes
        self.slots = 1
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        ours, theirs = Pipe()
        self._connection = ours
        with theirs:
            # A session of its own: Ctrl-C is for the controller, which then closes in order.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "evocodec.execution.ray_driver", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
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
        """How long ago the head last answered."""
        return time.monotonic() - self._beat_at

    def opened(self, stop: threading.Event) -> object:
        """Wait for what came of Open; raises ``LinkLostError``."""
        with self._changed:
            while self._opened is None:
                self._require()
                if stop.is_set():
                    raise LinkLostError("the engine closes")
                self._changed.wait(0.2)
            self._beat_at = time.monotonic()
            return self._opened.answer

    def tell(self, order: Order) -> None:
        """Give an order that is not answered, or not here; raises ``LinkLostError``."""
        self._require()
        try:
            with self._sending:
                self._connection.send(order)
        except OSError as error:
            raise LinkLostError(self._lost or str(error)) from error

    def ask(self, request: Ready | Take, seconds: float) -> object:
        """Return the answer; raises ``LinkLostError``, and ``TimeoutError`` after ``seconds``."""
        number = new_number()
        self.tell(Ask(number, request))
        until = time.monotonic() + seconds
        with self._changed:
            while number not in self._answers:
                self._require()
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._changed.wait(left)
            return self._answers.pop(number)

    def end(self, reason: str, *, kindly: bool = False) -> None:
        """End the process; ``kindly``: let it leave the cluster first."""
        if kindly:
            try:
                self.tell(Close())
                self._process.wait(_END_SECONDS)
            except (LinkLostError, subprocess.TimeoutExpired):
                pass
        self._give_up(reason)
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._connection.close()
        self._output.close()

    def last_words(self) -> str:
        """The end of what the process printed."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _TAIL_BYTES))
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

    def _require(self) -> None:
        if self._lost:
            raise LinkLostError(self._lost)

    def _give_up(self, reason: str) -> None:
        with self._changed:
            self._lost = self._lost or reason
            self._changed.notify_all()

    def _read(self) -> None:
        try:
            while True:
                self._take_in(self._connection.recv())
        except (EOFError, OSError):
            self._process.wait()
            self._give_up(f"its driver ended ({self._process.returncode}): {self.last_words()}")
            self._on_change()

    def _take_in(self, report: object) -> None:
        with self._changed:
            match report:
                case Beat(slots):
                    self.slots, self._beat_at = slots, time.monotonic()
                case Answer(number, value):
                    self._answers[number] = value
                case Opened():
                    self._opened = report
            self._changed.notify_all()
