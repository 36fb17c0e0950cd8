"""Ledger contract: what every backend guarantees. One contract test suite runs over all of them."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from evocodec.domain.events import Event


class Ledger(Protocol):
    """An append-only record of events, each kept exactly once.

    *Ownership.* A ledger owns its storage. One process records a run; any number of processes may
    read it meanwhile, and other runs may be recorded in the same ledger by other processes.

    *Threads.* Any thread may call any method at any time. An iterator belongs to the thread that
    made it.

    *Order.* Positions are positive and grow with every recorded event of a run; those of different
    runs cannot be compared. A reader that has seen position n of a run is never shown a new event
    at or below n later, so n is a cursor that survives restarts. Positions may have gaps.

    *Values.* What is read equals what was recorded, and shares nothing with it. Text that is not
    valid Unicode is replaced on the way in.

    *Failures.* InfrastructureFailure when the storage fails (disk full, locked, gone): nothing was
    recorded, and the call may be repeated. UserError when a person has to act: the storage belongs
    to a newer version or is no ledger. ValueError after ``close``.
    """

    def record(self, event: Event) -> bool:
        """Keep one event, durably, before returning.

        Returns True when it was recorded, and False when its run already has an event of that
        ``key``: the first one stays as it is. Of several callers with one key, exactly one gets
        True. The event is recorded completely or not at all.
        """
        ...

    def events(
        self,
        run_id: str,
        *,
        after: int = 0,
        candidate_id: str | None = None,
        kinds: Sequence[str] = (),
    ) -> Iterator[tuple[int, Event]]:
        """Iterate over ``(position, event)`` of one run in the order of recording.

        Args:
            run_id: the run; an unknown one has no events.
            after: only positions above this.
            candidate_id: only events of this candidate; ``""`` means those of the whole run.
            kinds: only these kinds; none means all.

        Events recorded during the iteration may or may not appear. No lock is held between steps,
        so a slow reader blocks nobody. Events of kinds that this version does not know are skipped.
        """
        ...

    def get(self, run_id: str, key: str) -> Event | None:
        """Return the event of that key, or None."""
        ...

    def runs(self) -> tuple[str, ...]:
        """Return the ids of all runs, the one whose first event is newest first."""
        ...

    def close(self) -> None:
        """Release the storage. Closing twice is allowed."""
        ...
