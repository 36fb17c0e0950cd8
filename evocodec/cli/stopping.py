"""Signal handling: the first Ctrl-C, SIGTERM or SIGHUP stops in order, the second at once."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from evocodec.cli.exits import ExitCode

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A terminal and what runs below it may both hand on one wish to stop.
SAME_WISH_SECONDS = 0.5


class _Work(Generic[T]):
    """A call in a thread of its own; its value or its error is handed back."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._values: list[T] = []
        self._error: BaseException | None = None
        # A daemon, so that nothing keeps the process alive once a person has left it.
        self.thread = threading.Thread(target=self._run, name="laboratory", daemon=True)

    def _run(self) -> None:
        try:
            self._values.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._error = error

    def value(self) -> T:
        """Return what the call returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._values[0]


def kill_descendants() -> None:
    """Kill every descendant process, where /proc lists them.

    Some of Ray's daemons outlive a driver that leaves without a word.
    """
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The second field is the name in parentheses, and may hold anything.
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    pending, found = [os.getpid()], []
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    for pid in found:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _write_nowhere(descriptors: Sequence[int]) -> None:
    """Let what is printed go nowhere: writing to a closed terminal fails, or stops the process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for fd in descriptors:
        os.dup2(nowhere, fd)
    os.close(nowhere)


def run_stoppable(
    call: Callable[[], T],
    *,
    stop: threading.Event,
    on_stop: Callable[[], None],
    on_leave: Callable[[], None] = lambda: None,
) -> T:
    """Return the result of ``call``, which ends early and in order when ``stop`` is set.

    The first SIGINT, SIGTERM or SIGHUP sets ``stop`` and calls ``on_stop``; the second, unless it
    comes with the first, calls ``on_leave`` and ends the process with 130 at once. SIGHUP stays
    ignored where it was (``nohup``). Nothing is written to a terminal that has closed. The call
    runs in another thread: signals reach the main one, and libraries that install signal handlers
    of their own do so only there.
    """
    work = _Work(call)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]
    terminals = [fd for fd in (1, 2) if _is_terminal(fd)]
    asked_at: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        asked_at.append(now)
        if number == signal.SIGHUP:
            _write_nowhere(terminals)
        if stop.is_set():
            if now - asked_at[0] < SAME_WISH_SECONDS:
                return
            on_leave()
            sys.stdout.flush()
            kill_descendants()
            os._exit(ExitCode.INTERRUPTED)
        stop.set()
        on_stop()

    for number in before:
        signal.signal(number, handle)
    try:
        work.thread.start()
        while work.thread.is_alive():
            work.thread.join(timeout=0.2)
        return work.value()
    finally:
        for number, handler in before.items():
            restored: Any = handler if handler is not None else signal.SIG_DFL
            signal.signal(number, restored)
