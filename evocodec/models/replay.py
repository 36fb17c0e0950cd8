"""Recorded replies of an earlier run, played back in place of a model."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evocodec.domain.candidate import Origin
from evocodec.domain.errors import (
    CandidateFailure,
    EndpointUnavailable,
    FailureKind,
    UserError,
)
from evocodec.domain.events import (
    CandidateOpened,
    Event,
    ModelCalled,
    kinds_of,
    opened_key,
)
from evocodec.domain.vocabulary import CallOutcome, ModelRole
from evocodec.models.contract import ChatMessage, Reply
from evocodec.models.recorder import CallFacts, CallName, CallRecorder
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger


@dataclass(frozen=True, slots=True)
class RecordedReply:
    """One reply as the ledger has it."""

    text: str
    outcome: CallOutcome
    model: str


Recordings = Mapping[tuple[int, ModelRole, int], RecordedReply]
"""Replies by candidate number, role and attempt."""


def replay_from(ledger: Ledger, blobs: BlobStore, run_id: str) -> Recordings:
    """Read the replies of a run; raises UserError for a run that called no model."""
    numbers: dict[str, int] = {}
    replies: dict[tuple[int, ModelRole, int], RecordedReply] = {}
    kinds = kinds_of(CandidateOpened, ModelCalled)
    for _, event in ledger.events(run_id, kinds=kinds):
        if isinstance(event, CandidateOpened):
            numbers[event.candidate_id] = event.number
        elif isinstance(event, ModelCalled) and event.received:
            number = numbers.get(event.candidate_id)
            if number is not None:
                text = blobs.get(event.reply_sha256).decode()
                replies[number, event.role, event.attempt] = RecordedReply(
                    text, event.outcome, event.model
                )
    if not replies:
        raise UserError(
            f"run {run_id!r} has no recorded model replies to replay: see `evocodec ls` for runs "
            f"that used a model"
        )
    return replies


class ReplayGateway:
    """A ChatGateway that answers from recordings; it costs nothing and uses no network.

    A candidate whose way differs from the recorded one finds no reply and fails with NO_CODE.
    Beyond the last recorded candidate the run ends: EndpointUnavailable.
    """

    origin = Origin.REPLAY

    def __init__(
        self,
        recordings: Recordings,
        *,
        run_id: str,
        ledger: Ledger,
        blobs: BlobStore,
        record: Callable[[Event], object],
        now: Callable[[], str],
    ) -> None:
        self._recordings = recordings
        self._last = max((number for number, _, _ in recordings), default=0)
        self._run_id = run_id
        self._ledger = ledger
        self._recorder = CallRecorder(run_id, ledger, blobs, record, now)

    def chat(
        self,
        role: ModelRole,
        messages: Sequence[ChatMessage],
        *,
        candidate_id: str,
        attempt: int,
        template_sha256: str,
        classify: Callable[[str], CallOutcome] | None = None,
    ) -> Reply:
        """Return the recorded reply; the outcome is judged anew, with the prompt of now."""
        name = CallName(candidate_id, role, attempt)
        known = self._recorder.find(name)
        if known is not None:
            return known
        found = self._find(name)
        outcome = found.outcome
        if outcome in (CallOutcome.OK, CallOutcome.UNPARSABLE) and classify is not None:
            outcome = classify(found.text)
        facts = CallFacts(
            model=found.model,
            outcome=outcome,
            prompt_tokens=0,
            completion_tokens=0,
            cost_usd=0.0,
            wall_seconds=0.0,
            tries=0,
        )
        self._recorder.keep(
            name, facts, messages=messages, template_sha256=template_sha256, reply=found.text
        )
        return Reply(found.text, outcome, found.model)

    def _find(self, name: CallName) -> RecordedReply:
        opened = self._ledger.get(self._run_id, opened_key(name.candidate_id))
        number = opened.number if isinstance(opened, CandidateOpened) else 0
        found = self._recordings.get((number, name.role, name.attempt))
        if found is not None:
            return found
        if number > self._last:
            raise EndpointUnavailable(
                f"the recorded run ends with candidate {self._last}: there is nothing to replay "
                f"for candidate {number}"
            )
        where = json.dumps({"candidate": number, "role": name.role, "attempt": name.attempt})
        raise CandidateFailure(
            FailureKind.NO_CODE,
            f"The recorded run has no reply for {where}: this candidate went another way then.",
        )
