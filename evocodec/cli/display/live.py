"""Live renderer for a terminal: one status panel of the run, redrawn in place."""

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from evocodec.cli.display.lines import LineStyle
from evocodec.cli.display.plain import PREPARING
from evocodec.cli.display.status_panel import status_panel
from evocodec.cli.render.text import sanitize
from evocodec.domain import events as ev
from evocodec.formatting import duration
from evocodec.views.progress import Progress, Snapshot

REFRESH_PER_SECOND: Final = 4
HINT: Final = "  Ctrl-C stops cleanly; a stopped run can be resumed"


class LiveDisplay:
    """Redraws one picture a few times a second; leaves nothing behind but what came before."""

    def __init__(
        self,
        console: Console,
        *,
        minutes: float,
        candidates: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._minutes = minutes
        self._candidates = candidates
        self._progress = Progress(clock)
        self._notice = ""
        self._live = Live(
            console=console,
            get_renderable=self.status_panel,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def replay(self, events: Iterable[ev.Event]) -> None:
        """See Display."""
        self._progress.replay(events)

    def on_event(self, event: ev.Event) -> None:
        """See Display."""
        self._progress.apply(event)

    def notice(self, text: str) -> None:
        """See Display."""
        self._notice = sanitize(text, lines=True).replace("\n", "\n  ")

    def status_panel(self) -> RenderableType:
        """Return what is drawn at this moment."""
        snapshot = self._progress.snapshot()
        hint = Text(f"  {self._notice}", style=str(LineStyle.WARN)) if self._notice else None
        if not snapshot.run.run_id:
            waiting = Text(f"\n  {duration(snapshot.seconds)}  {PREPARING} …\n\n", style="dim")
            return waiting.append_text(hint or Text(HINT))
        return status_panel(
            snapshot,
            corner=Text(self._time_left(snapshot)),
            hint=hint or Text(HINT, style="dim"),
            width=self._console.width,
            height=self._console.height,
        )

    def _time_left(self, snapshot: Snapshot) -> str:
        if not snapshot.begun:
            return "getting ready to go on"
        left = self._minutes * 60 - snapshot.seconds
        message = f"{duration(left)} left" if left > 0 else "finishing what is in flight"
        if self._candidates:
            return f"{len(snapshot.run.candidates)} of {self._candidates} candidates, {message}"
        return message
