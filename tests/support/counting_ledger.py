"""A ledger that counts what is read out of it."""

from collections.abc import Iterator, Sequence

from evocodec.domain.events import Event
from evocodec.store.memory import MemoryLedger


class CountingLedger(MemoryLedger):
    """Counts the events that were read out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def events(
        self,
        run_id: str,
        *,
        after: int = 0,
        candidate_id: str | None = None,
        kinds: Sequence[str] = (),
    ) -> Iterator[tuple[int, Event]]:
        found = super().events(run_id, after=after, candidate_id=candidate_id, kinds=kinds)
        for position, event in found:
            self.read += 1
            yield position, event
