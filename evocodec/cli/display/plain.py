"""Plain renderer for logs and pipes: one line per important event, and a regular heartbeat."""

import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

from rich.console import Console

from evocodec.cli.display.lines import Line, LineStyle, describe, introduce
from evocodec.domain import events as ev
from evocodec.formatting import duration, plural
from evocodec.views.progress import Progress

PULSE_SECONDS: Final = 6.0
PREPARING: Final = "starting Ray, reading the clips, measuring HEVC on them"


class PlainDisplay:
    """Prints main lines at once, and what is being done when nothing happened for a while.

    Single tasks are not shown: the pulse counts them. ``everything`` shows all events instead.
    """

    def __init__(
        self,
        console: Console,
        *,
        everything: bool = False,
        preparing: str = PREPARING,
        pulse_seconds: float = PULSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._everything = everything
        self._preparing = preparing
        self._pulse_seconds = pulse_seconds
        self._clock = clock
        self._progress = Progress(clock)
        self._spoke = clock()
        self._failures: dict[str, str] = {}
        self._lock = threading.Lock()  # events and the pulse come from different threads
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._pulse, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._print(Line("run", self._preparing, LineStyle.QUIET))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def replay(self, events: Iterable[ev.Event]) -> None:
        """See Display."""
        self._progress.replay(events)

    def on_event(self, event: ev.Event) -> None:
        """See Display."""
        self._progress.apply(event)
        line = describe(event)
        with self._lock:
            if (line.main or self._everything) and not self._repeats(event):
                self._print(line)
                if isinstance(event, ev.RunStarted):
                    for more in introduce(event):
                        self._print(more)

    def notice(self, text: str) -> None:
        """See Display."""
        with self._lock:
            self._print(Line("run", text.replace("\n", "; "), LineStyle.WARN))

    def pulse(self) -> None:
        """Print what is going on, when nothing was printed for a while."""
        with self._lock:
            if self._clock() - self._spoke >= self._pulse_seconds:
                self._print(Line("…", self._working(), LineStyle.QUIET))

    def _pulse(self) -> None:
        while not self._stopped.wait(min(self._pulse_seconds / 4, 1.0)):
            self.pulse()

    def _working(self) -> str:
        snapshot = self._progress.snapshot()
        before = snapshot.points_before
        past = f"{plural(before, 'task')} done before"
        if not snapshot.run.run_id or not snapshot.begun:
            return f"{self._preparing} · {past}" if before else self._preparing
        steps = [f"{step.candidate.candidate_id} {step.label}" for step in snapshot.steps]
        done = f"{plural(snapshot.run.points - before, 'task')} done"
        return " · ".join([*steps, f"{done}, {before} before" if before else done])

    def _repeats(self, event: ev.Event) -> bool:
        """Whether a closing line would only say again how the last attempt failed."""
        if isinstance(event, ev.AttemptFailed):
            self._failures[event.candidate_id] = event.message
        if isinstance(event, ev.CandidateClosed):
            failure = self._failures.pop(event.candidate_id, "")
            return bool(failure) and failure in event.reason and not self._everything
        return False

    def _print(self, line: Line) -> None:
        self._spoke = self._clock()
        lead = duration(self._spoke - self._progress.began)
        self._console.print(line.render(lead=lead), soft_wrap=True)
