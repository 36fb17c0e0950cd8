"""A controller in a process of its own, and one who kills it, and whatever else a run needs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from evocodec.domain.events import CandidateClosed, Event
from evocodec.store.event_json import event_from_json

Json = dict[str, Any]

RECOVERY_SECONDS = 120.0
_MOMENT_SECONDS = 20.0
_MOST_STARTS = 20
PROGRAM = "from evocodec.cli.main import entry; entry()"


class Controller:
    """``evocodec run --json``, resumed by whoever keeps it as often as it ends too early.

    ``watch`` hears each event that it says it has recorded.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        log: Path,
        watch: Callable[[Event], None],
        *,
        program: str = PROGRAM,
    ) -> None:
        flags = [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
        self._command = [sys.executable, "-c", program, *flags, "run", "--json"]
        self._log = log
        self._watch = watch
        self._lock = threading.Lock()  # between starting and killing
        self._process: subprocess.Popen[str] | None = None
        self._killed = False
        self._closing = False
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._summary: Json = {}
        self.said: list[Event] = []
        self.kills = 0
        self.ended_early: list[str] = []
        """Ends that nobody asked for."""
        self.children: list[psutil.Process] = []
        """Of those that were killed."""

    def __enter__(self) -> "Controller":
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
        self._keeper.join()

    def finish(self, seconds: float) -> Json:
        """Wait for the run's summary; empty when it did not come in time."""
        self._keeper.join(seconds)
        return self._summary

    def kill(self) -> str:
        """Kill it at once; the keeper starts another one."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                return ""
            self.children += psutil.Process(process.pid).children(recursive=True)
            self._killed = True
            self.kills += 1
            process.send_signal(signal.SIGKILL)
            process.wait()
        return "controller"

    def _keep(self) -> None:
        for _ in range(_MOST_STARTS):
            more = ["--resume"] if self.said else []
            with self._log.open("ab") as log, self._lock:
                if self._closing:
                    return
                self._killed = False
                self._process = subprocess.Popen(
                    [*self._command, *more], stdout=subprocess.PIPE, stderr=log, text=True
                )
            last = self._listen(self._process)
            code = self._process.wait()
            if self._closing or last.get("summary", {}).get("outcome") == "finished":
                self._summary = last.get("summary", {})
                return
            if not self._killed:
                self.ended_early.append(f"ended with {code}: {last}")

    def _listen(self, process: "subprocess.Popen[str]") -> Json:
        """Return the last line, if it is no event."""
        last: Json = {}
        assert process.stdout is not None
        with process.stdout:
            for text in process.stdout:
                if not text.endswith("\n"):
                    break  # it died in the middle of a line
                line: Json = json.loads(text)
                event = event_from_json(text) if "kind" in line else None
                if event is None:
                    last = line
                    continue
                self.said.append(event)
                self._watch(event)
        return last


class Killer:
    """Kills one part after the other from the first result on, while the run goes on.

    After a death it waits ``every_seconds``, and for a candidate that closes: or the next one
    dies before anything has recovered. A part's kill says what died; empty: there was nothing.
    """

    def __init__(
        self,
        parts: Mapping[str, Callable[[], str]],
        deaths: Iterable[str],
        every_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._parts = parts
        self._deaths = deaths
        self._every = every_seconds
        self._say = say
        self._over = threading.Event()
        self._closed = threading.Event()  # a candidate was, lately
        self._moved = threading.Event()  # something was recorded just now
        self._thread = threading.Thread(target=self._kill, daemon=True)
        self.killed: list[str] = []
        self.standstills: list[str] = []

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._closed.set()
        self._moved.set()
        self._thread.join()

    def watch(self, event: Event) -> None:
        """Hear an event of the run."""
        self._moved.set()
        if isinstance(event, CandidateClosed):
            self._say(f"{event.candidate_id}: {event.status}")
            self._closed.set()

    def _kill(self) -> None:
        self._closed.wait()
        for kind in self._deaths:
            if self._over.wait(self._every):
                return
            self._moved.clear()
            self._moved.wait(_MOMENT_SECONDS)  # writes come in bursts, and are what should be hit
            if self._over.is_set():
                return
            self._closed.clear()
            what = self._parts[kind]()
            if what:
                self.killed.append(kind)
            self._say(f"killed: {what or f'no {kind}: there was none'}")
            if not self._closed.wait(RECOVERY_SECONDS):
                self.standstills.append(f"nothing closed for {RECOVERY_SECONDS:g} s after {what}")


def still_running(processes: Iterable[psutil.Process], seconds: float) -> list[str]:
    """Those that have not ended by then."""
    _, alive = psutil.wait_procs(list(processes), timeout=seconds)
    return [f"{process.pid}: {' '.join(process.cmdline()[:6])}" for process in alive]


def say_with_time(text: str) -> None:
    """Write a line to stderr."""
    os.write(2, f"{time.strftime('%H:%M:%S')} {text}\n".encode())
