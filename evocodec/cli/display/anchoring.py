"""Progress display of anchor encodes, with an estimate of the remaining time."""

import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from evocodec.cli.render.text import sanitize
from evocodec.formatting import duration, plural

if TYPE_CHECKING:
    from evocodec.anchors.measure import AnchorEvent
    from evocodec.app.anchor_table import PlannedAnchor

_REFRESH_PER_SECOND = 4


class AnchorProgress(AbstractContextManager["AnchorProgress"]):
    """Any thread may report encodes.

    On a terminal one line is redrawn for each that runs; elsewhere every curve is announced once.
    The estimate starts from what encoders usually cost beside x265 medium, and corrects itself by
    how long those measured so far took.
    """

    def __init__(self, console: Console, *, live: bool, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str, float], float] = {}
        self._planned: dict[tuple[str, str], float] = {}
        self._begun: set[tuple[str, str]] = set()
        self._jobs = 1
        self._expected_done = 0.0
        self._cpu_done = 0.0
        self.encodes = 0
        self._live = (
            Live(
                get_renderable=self._render,
                console=console,
                refresh_per_second=_REFRESH_PER_SECOND,
                transient=True,
            )
            if live and not quiet
            else None
        )

    def __enter__(self) -> "AnchorProgress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def on_plan(self, planned: "Sequence[PlannedAnchor]", jobs: int) -> None:
        """Record the remaining work."""
        with self._lock:
            self._jobs = jobs
            self._planned = {
                (anchor.clip, anchor.encoder.name): anchor.cpu_seconds for anchor in planned
            }

    def on_event(self, event: "AnchorEvent") -> None:
        """Take note of an encode that begins or ended."""
        curve = (event.clip, event.encoder.name)
        key = (*curve, event.rate)
        with self._lock:
            if event.point is None:
                self._running[key] = time.monotonic()
                self._announce(curve)
                return
            self._running.pop(key, None)
            self.encodes += 1
            if curve in self._planned:
                self._cpu_done += event.point.cost.encode_cpu_seconds

    def remaining_seconds(self) -> float | None:
        """About how long all planned encodes still take; None while that is not known."""
        left = sum(seconds for key, seconds in self._planned.items() if key not in self._begun)
        begun = sum(seconds for key, seconds in self._planned.items() if key in self._begun)
        if not self._planned or left + begun == 0:
            return None
        pace = 1.0
        if self._expected_done > 0:
            pace = max(0.2, self._cpu_done / self._expected_done)
        under_way = max(0.0, begun - self._expected_done)
        return (left + under_way / 2) * pace / max(1, self._jobs)

    def _announce(self, curve: tuple[str, str]) -> None:
        if curve in self._begun:
            return
        # Curves follow each other: what had begun before is complete by now.
        self._expected_done = sum(self._planned.get(key, 0.0) for key in self._begun)
        self._begun.add(curve)
        if self._live is None and not self._quiet:
            self._console.print(Text(f"{sanitize(curve[0])}: measuring {sanitize(curve[1])}"))

    def _render(self) -> RenderableType:
        now = time.monotonic()
        with self._lock:
            lines = [
                Text(f"  {sanitize(clip)}  {sanitize(name)}  at {rate:g}  {duration(now - began)}")
                for (clip, name, rate), began in self._running.items()
            ]
            remaining = self.remaining_seconds()
            head = f"measuring anchors: {plural(self.encodes, 'encode')} made"
        if remaining is not None:
            head += f", about {duration(remaining)} left"
        return Group(Text(head, style="bold"), *lines)
