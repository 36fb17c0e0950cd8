"""Silent renderer, for a run whose log goes to stdout."""

import logging
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from evocodec.domain.events import Event

_logger = logging.getLogger(__name__)


class SilentDisplay:
    """A Display that leaves stdout to the log."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def replay(self, events: Iterable[Event]) -> None:
        """See Display."""

    def on_event(self, event: Event) -> None:
        """See Display."""

    def notice(self, text: str) -> None:
        """See Display."""
        _logger.warning("%s", text)
