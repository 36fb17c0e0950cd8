"""A pool of processes that parse program texts, outside of the controller's interpreter lock.

A program text is hostile: parsing or reviewing it may take for ever, exhaust memory or crash the
interpreter. All that ends there, and is the program's own fault.
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
from evocodec.sandbox.parser_process import ANSWER, OUT_OF_MEMORY, receive, send

_MOST_PROCESSES = 4
_MOST_REPLY_BYTES = 64 << 20
_WALL_PER_CPU = 20.0  # how many times its CPU limit a request may last on a machine that is busy
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "LANG", "LC_ALL")


class ParserLimitError(Exception):
    """A text that could not be parsed within the limits; the message says what happened."""


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """Limits of one request."""

    cpu_seconds: float = 10.0
    memory_bytes: int = 512 << 20


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

    def call(self, task: Callable[..., bytes], *arguments: object) -> bytes:
        """Return ``task(*arguments)``; the task is found by its name in the other process.

        Raises:
            ParserLimitError: it took too much time or memory, or ended the process, twice.
            InfrastructureFailure: no process can be started.
        """
        request = pickle.dumps((task, arguments))
        with self._free:
            try:
                return self._ask(request)
            except _ParserDiedError:
                # It may have been killed for another's sake, such as by a machine out of memory.
                try:
                    return self._ask(request)
                except _ParserDiedError as died:
                    raise ParserLimitError(str(died)) from died

    def close(self) -> None:
        """End the processes. Closing twice is allowed."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for parser in idle:
            parser.end()

    def _ask(self, request: bytes) -> bytes:
        with self._lock:
            parser = self._idle.pop() if self._idle else None
        if parser is not None and not parser.alive:
            parser.end()
            parser = None
        parser = parser or _Parser(self._limits)
        try:
            reply = parser.ask(request)
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


class _ParserDiedError(Exception):
    """The process ended before it answered."""


class _Parser:
    """One process."""

    def __init__(self, limits: ParserLimits) -> None:
        self._limits = limits
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        path = [root, *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(path)
        arguments = (str(limits.cpu_seconds), str(limits.memory_bytes))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", parser_process.__name__, *arguments],
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
        self._socket.settimeout(limits.cpu_seconds * _WALL_PER_CPU)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: bytes) -> bytes:
        """Raises ParserLimitError for a limit that was reached, and _ParserDiedError."""
        try:
            send(self._socket, request)
            return _result(receive(self._socket, _MOST_REPLY_BYTES), self._limits)
        except TimeoutError as error:
            raise ParserLimitError(
                f"reading it took more than {self._socket.gettimeout():g} s"
            ) from error
        except (EOFError, ConnectionError) as error:
            code = self._process.wait()
            if code == -signal.SIGXCPU:
                raise ParserLimitError(
                    f"reading it took more than {self._limits.cpu_seconds:g} s of CPU time"
                ) from error
            raise _ParserDiedError(f"reading it ended Python ({_ending(code)})") from error

    def end(self) -> None:
        """Kill the process, whatever it does."""
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
    raise ParserLimitError(f"reading it failed: {reply[1:].decode(errors='replace')}")
