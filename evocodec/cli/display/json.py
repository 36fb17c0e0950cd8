"""JSON renderer: one event per line on stdout, and nothing else there."""

import json
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console

from evocodec.cli.session import emit_line
from evocodec.domain.events import Event
from evocodec.store.event_json import event_to_json


class JsonDisplay:
    """Writes every event as it is in the ledger; notices go to stderr."""

    def __init__(self, err: Console) -> None:
        self._err = err
        self._lock = threading.Lock()  # events come from several threads; lines must stay whole

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def replay(self, events: Iterable[Event]) -> None:
        """See Display: earlier lines were written by the earlier session."""

    def on_event(self, event: Event) -> None:
        """See Display."""
        with self._lock:
            emit_line(json.loads(event_to_json(event)))

    def notice(self, text: str) -> None:
        """See Display."""
        self._err.print(text)
