"""Display contract: the interface that all renderers implement."""

from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

from evocodec.domain.events import Event


class Display(Protocol):
    """Shows a run while it is running.

    Entered before the run and left after it. ``on_event`` and ``notice`` may be called from any
    thread, also before the first event and after the last; they never raise because of what an
    event holds.
    """

    def __enter__(self) -> Self:
        """Begin to draw."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing and leave the terminal as it was."""
        ...

    def replay(self, events: Iterable[Event]) -> None:
        """Take in, without showing each, what a resumed run did before."""
        ...

    def on_event(self, event: Event) -> None:
        """Follow one event."""
        ...

    def notice(self, text: str) -> None:
        """Show a message of a few lines that is not an event, such as that the run is stopping."""
        ...
