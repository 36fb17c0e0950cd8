"""Fruitless rows: failures of one cause, or identical replies, that follow each other in a run."""

from dataclasses import dataclass, field

from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.events import (
    AttemptFailed,
    CandidateClosed,
    Event,
    ModelCalled,
    RunStarted,
)
from evocodec.domain.vocabulary import ModelRole


@dataclass(slots=True)
class FruitlessRow:
    """Counts how often in a row a run with a model came to nothing for one reason.

    A fold over the events of a run: ``observe`` is called in the ledger's order, by one thread at a
    time. A run that is resumed begins to count again: somebody may have changed something.
    ``limit`` is the number of failures or of identical replies that is too much; 0 never is.
    """

    limit: int
    _cause: str = ""
    _failures: int = 0
    _message: str = ""
    _reply: str = ""
    _replies: int = 0
    _newest: str = ""
    _failed: dict[str, AttemptFailed] = field(default_factory=dict)

    def observe(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case RunStarted():
                self._cause, self._failures, self._reply, self._replies = "", 0, "", 0
            case ModelCalled(role=ModelRole.CODER) if event.received:
                same = event.reply_sha256 == self._reply
                self._replies = self._replies + 1 if same else 1
                self._reply = event.reply_sha256
                self._newest = event.candidate_id
            case AttemptFailed():
                self._failed[event.candidate_id] = event
            case CandidateClosed():
                self._close(event)
            case _:
                pass

    def why(self) -> str:
        """Say why the run should stop, and what to do; empty while it should go on."""
        if not self.limit:
            return ""
        ask = f"see `evocodec show {self._newest} --prompts`, change the model or its settings"
        rest = "then resume the run (run.failures_in_a_row sets the number)"
        if self._failures >= self.limit:
            return (
                f"{self._failures} candidates in a row failed with one cause, {self._cause}: "
                f"{self._message.rstrip('.')}. To go on, {ask}, {rest}"
            )
        if self._replies >= self.limit:
            times = f"{self._replies} times in a row"
            return f"the model gave the same reply {times}. To go on, {ask}, {rest}"
        return ""

    def _close(self, event: CandidateClosed) -> None:
        failed = self._failed.pop(event.candidate_id, None)
        if event.status is not CandidateStatus.TEST_FAILED or failed is None:
            self._cause, self._failures = "", 0
            return
        same = failed.failure == self._cause
        self._failures = self._failures + 1 if same else 1
        self._cause, self._message = failed.failure, failed.message
        self._newest = event.candidate_id
