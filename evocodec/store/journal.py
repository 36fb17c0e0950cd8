"""The journal: records an event once, then passes it to the listeners."""

import threading
from collections.abc import Callable

from evocodec.domain.errors import SupersededError
from evocodec.domain.events import (
    CandidateClosed,
    CandidateOpened,
    Event,
    Judged,
    RunStopped,
)
from evocodec.store.ledger import Ledger

# What must not be done to a run that another controller has resumed. All else may be recorded: its
# key says what it is of, and whoever comes second finds it there.
_FENCED = (CandidateOpened, Judged, CandidateClosed, RunStopped)


class Journal:
    """Records an event once, then passes it to the listeners.

    The ledger decides what is new; the lock keeps listeners in the ledger's order.
    ``next_resume_key`` is the key of the event with which another controller would take the run
    over.
    """

    def __init__(
        self,
        ledger: Ledger,
        run_id: str,
        listeners: Callable[[Event], None],
    ) -> None:
        self.ledger = ledger
        self.run_id = run_id
        self.next_resume_key = ""
        self._listeners = listeners
        self._lock = threading.Lock()

    def publish(self, event: Event) -> None:
        """Record the event; a known event changes nothing and is not passed on."""
        self.claim(event)

    def claim(self, event: Event) -> bool:
        """Publish the event; False when one of its key was recorded before, here or elsewhere.

        Raises:
            SupersededError: it would begin, judge or end something in a run that went elsewhere.
        """
        if isinstance(event, _FENCED):
            self.check_lease()
        with self._lock:
            if not self.ledger.record(event):
                return False
            self._listeners(event)
            return True

    def check_lease(self) -> None:
        """Check that no other controller has resumed the run meanwhile.

        Raises:
            SupersededError: one has. What both measure is recorded once; only one may go on.
        """
        if self.next_resume_key and self.find(self.next_resume_key) is not None:
            message = (
                f"{self.run_id} was resumed elsewhere and goes on there; this controller stops. "
                "`evocodec status` shows how it goes"
            )
            raise SupersededError(message)

    def find(self, key: str) -> Event | None:
        """The recorded event of that key in this run."""
        return self.ledger.get(self.run_id, key)
