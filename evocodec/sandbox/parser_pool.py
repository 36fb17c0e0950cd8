"""A pool of processes that parse program texts, outside of the controller's interpreter lock.

A program text is hostile: parsing or reviewing it may take for ever, exhaust memory or crash the
interpreter. All that ends there, and is the program's own fault. What ends such a process from
outside, such as a machine out of memory, is ours: the request is made again, and no program is
blamed.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evocodec.domain.errors import InfrastructureFailure
from evocodec.sandbox import parser_process
from evocodec.sandbox.parser_process import ANSWER, FAULT, OUT_OF_MEMORY, READY, receive, send

_MOST_PROCESSES = 4
_MOST_REPLY_BYTES = 64 << 20
_START_SECONDS = 60.0
_WALL_PER_CPU = 60.0  # how many times its CPU limit a request may last on a machine that is busy
_TRIES = 3  # of one request, while it fails by no fault of its own
_CRASHES = 2  # of Python, after which the text is to blame
# Signals that Python's own crashes end with; any other comes from outside.
_CRASH_SIGNALS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS}
)
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "LANG", "LC_ALL")


class ParserLimitError(Exception):
    """A text that could not be parsed within the limits; the message says what happened."""


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """Limits of one request; ``memory_bytes`` are of address space, Python's own included."""

    cpu_seconds: float = 2.0
    memory_bytes: int = 384 << 20


class ParserPool:
    """Runs module-level functions of texts in processes of its own; any thread may call.

    Processes start when they are needed, at most ``processes`` of them, and serve until the pool is
    closed or they die. They hold no secrets: of the environment they get what Python needs.
    """

    def __init__(self, limits: ParserLimits | None = None, *, processes: int = 0) -> None:
        self._limits = limits or ParserLimits()
        self._free = threading.Semaphore(processes or min(os.cpu_count() or 1, _MOST_PROCESSES))
        # Two threads must not talk to one process.
        self._lock = threading.Lock()
        self._idle: list[_Parser] = []
        self._closed = False

    def call(
        self, task: Callable[..., bytes], *arguments: object, cpu_seconds: float | None = None
    ) -> bytes:
        """Return ``task(*arguments)``; the task is found by its name in the other process.

        ``cpu_seconds`` replaces the pool's limit for this request.

        Raises:
            ParserLimitError: it took too much time or memory, or crashed Python, twice.
            InfrastructureFailure: no process can be started, or something else ended each.
        """
        seconds = self._limits.cpu_seconds if cpu_seconds is None else cpu_seconds
        request = pickle.dumps((seconds, task, arguments))
        crashes = 0
        with self._free:
            for _ in range(_TRIES):
                try:
                    return self._ask(request, seconds)
                except _ParserCrashedError as error:
                    crashes += 1
                    if crashes == _CRASHES:
                        raise ParserLimitError(str(error)) from error
                except _ParserLostError as error:
                    lost = error
            raise InfrastructureFailure(
                f"a process that parses programs was lost {_TRIES} times: {lost}"
            ) from lost

    def close(self) -> None:
        """End the processes. Closing twice is allowed."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for parser in idle:
            parser.end()

    def _ask(self, request: bytes, cpu_seconds: float) -> bytes:
        with self._lock:
            parser = self._idle.pop() if self._idle else None
        if parser is not None and not parser.alive:
            parser.end()
            parser = None
        parser = parser or _Parser(self._limits)
        try:
            reply = parser.ask(request, cpu_seconds)
        except BaseException:
            parser.end()
            raise
        with self._lock:
            keep = not self._closed
            if keep:
                self._idle.append(parser)
        if not keep:
            parser.end()
        return reply


class _ParserCrashedError(Exception):
    """Python crashed in the process before it answered."""


class _ParserLostError(Exception):
    """The process was ended from outside, could not do its work, or did not get to it."""


class _Parser:
    """One process."""

    def __init__(self, limits: ParserLimits) -> None:
        self._limits = limits
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        path = [root, *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(path)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", parser_process.__name__, str(limits.memory_bytes)],
                env=environment,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the controller
            )
        except OSError as error:
            ours.close()
            raise InfrastructureFailure(
                f"no process can be started to parse programs: {error}"
            ) from error
        finally:
            theirs.close()
        self._socket = ours
        self._socket.settimeout(_START_SECONDS)
        try:
            if receive(self._socket, _MOST_REPLY_BYTES) != bytes([READY]):
                raise EOFError
        except (EOFError, OSError) as error:
            self.end()
            raise _ParserLostError(f"it did not start ({_ending(self._process.wait())})") from error

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: bytes, cpu_seconds: float) -> bytes:
        """Raises ParserLimitError for a limit that was reached, or one of the two above."""
        self._socket.settimeout(cpu_seconds * _WALL_PER_CPU)
        try:
            send(self._socket, request)
            return _result(receive(self._socket, _MOST_REPLY_BYTES), self._limits)
        except TimeoutError as error:
            # Its CPU time is limited, so it was not running: the machine is to blame.
            raise _ParserLostError(f"no answer within {self._socket.gettimeout():g} s") from error
        except (EOFError, ConnectionError) as error:
            code = self._process.wait()
            if code == -signal.SIGPROF:
                raise ParserLimitError(
                    f"reading it took more than {cpu_seconds:g} s of CPU time"
                ) from error
            if code > 0 or -code in _CRASH_SIGNALS:
                raise _ParserCrashedError(f"reading it ended Python ({_ending(code)})") from error
            raise _ParserLostError(f"it ended early ({_ending(code)})") from error

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        self._socket.close()


def _ending(code: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"


def _result(reply: bytes, limits: ParserLimits) -> bytes:
    if reply[0] == ANSWER:
        return reply[1:]
    if reply[0] == OUT_OF_MEMORY:
        raise ParserLimitError(
            f"reading it took more than {limits.memory_bytes >> 20} MiB of memory"
        )
    if reply[0] == FAULT:
        raise _ParserLostError(reply[1:].decode(errors="replace"))
    raise ParserLimitError(f"reading it failed: {reply[1:].decode(errors='replace')}")
