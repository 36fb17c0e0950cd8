"""Events as lines of the log, as text for people; made for very many."""

from collections.abc import Sequence
from functools import lru_cache

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment

from evocodec.cli.display.lines import LONGEST, Line, LineStyle, describe
from evocodec.cli.render.text import sanitize, shorten
from evocodec.domain.clock import epoch_seconds
from evocodec.domain.events import Event
from evocodec.formatting import duration


class EventLines:
    """A rich renderable: one line an event, with the time since ``began`` (seconds from 1970).

    It looks like ``Line.render``. A styled text for each event would take ten times as long, and a
    run has a hundred thousand.
    """

    def __init__(self, events: Sequence[Event], began: float | None) -> None:
        self._events = events
        self._began = began

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the segments of all lines; where nothing is styled, one segment."""
        if console.color_system is None:
            parts = (self._parts(event) for event in self._events)
            yield Segment("".join(lead + who + text for _, lead, who, text in parts))
            return
        style = {name: console.get_style(name) for name in ("dim", "bold", *map(str, LineStyle))}
        for event in self._events:
            line, lead, who, text = self._parts(event)
            yield Segment(lead, style["dim"])
            yield Segment(who, style["bold"] if line.good else None)
            yield Segment(text, style[str(line.style)])

    def _parts(self, event: Event) -> tuple[Line, str, str, str]:
        line = describe(event)
        text = f" {shorten(line.text, LONGEST)}\n"
        return line, f"{self._lead(event):>7}  ", _who(line.who), text

    def _lead(self, event: Event) -> str:
        now = epoch_seconds(event.at)
        return duration(None if self._began is None or now is None else now - self._began)


@lru_cache(maxsize=1024)  # a candidate has a dozen lines, near one another
def _who(name: str) -> str:
    return f"{sanitize(name):<7}"
