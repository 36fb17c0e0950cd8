"""Recorder of model calls: prompt, reply and cost go to the ledger."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evocodec.domain.events import (
    Event,
    ModelCalled,
    ModelNoted,
    kinds_of,
    reply_key,
)
from evocodec.domain.vocabulary import CallOutcome, ModelRole, NoteSubject
from evocodec.models.contract import ChatMessage, Reply
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger


@dataclass(frozen=True, slots=True)
class CallName:
    """Name of a call in the ledger; unique within a run."""

    candidate_id: str
    role: ModelRole
    attempt: int

    @property
    def key(self) -> str:
        """The ledger's key of a reply."""
        return reply_key(self.candidate_id, self.role, self.attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """Cost of a call; ``tries`` counts requests."""

    model: str
    outcome: CallOutcome
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    wall_seconds: float
    tries: int


@dataclass(frozen=True, slots=True)
class CallRecorder:
    """Writes calls of one run to the ledger, and finds those that were made before."""

    run_id: str
    ledger: Ledger
    blobs: BlobStore
    record: Callable[[Event], object]
    now: Callable[[], str]

    def find(self, name: CallName) -> Reply | None:
        """Return a reply that was received earlier in this run, or None."""
        event = self.ledger.get(self.run_id, name.key)
        if not isinstance(event, ModelCalled) or not event.received:
            return None
        text = self.blobs.get(event.reply_sha256).decode()
        return Reply(text, event.outcome, event.model, recorded=True)

    def keep(
        self,
        name: CallName,
        facts: CallFacts,
        *,
        messages: Sequence[ChatMessage],
        template_sha256: str,
        reply: str | None,
    ) -> None:
        """Record one call; ``reply`` is None when there was none."""
        self.record(
            ModelCalled(
                run_id=self.run_id,
                at=self.now(),
                candidate_id=name.candidate_id,
                role=name.role,
                attempt=name.attempt,
                model=facts.model,
                prompt_sha256=self.blobs.put(prompt_bytes(messages)),
                template_sha256=template_sha256,
                reply_sha256="" if reply is None else self.blobs.put(_encode(reply)),
                outcome=facts.outcome,
                prompt_tokens=facts.prompt_tokens,
                completion_tokens=facts.completion_tokens,
                cost_usd=facts.cost_usd,
                wall_seconds=facts.wall_seconds,
                tries=facts.tries,
            )
        )

    def note(self, name: CallName, subject: NoteSubject, text: str, seconds: float) -> None:
        """Record what a call waits for, or what it has learnt."""
        self.record(
            ModelNoted(
                run_id=self.run_id,
                at=self.now(),
                candidate_id=name.candidate_id,
                role=name.role,
                attempt=name.attempt,
                subject=subject,
                text=text,
                seconds=seconds,
            )
        )


def spent_in(ledger: Ledger, run_id: str) -> tuple[int, float]:
    """Tokens and US dollars that a run's recorded calls used."""
    calls = [
        event
        for _, event in ledger.events(run_id, kinds=kinds_of(ModelCalled))
        if isinstance(event, ModelCalled)
    ]
    tokens = sum(call.prompt_tokens + call.completion_tokens for call in calls)
    return tokens, sum(call.cost_usd for call in calls)


def prompt_bytes(messages: Sequence[ChatMessage]) -> bytes:
    """The messages as canonical JSON: what a prompt's hash is taken of."""
    listed = [{"role": message.role, "content": message.content} for message in messages]
    return _encode(json.dumps(listed, ensure_ascii=False, indent=1))


def _encode(text: str) -> bytes:
    return text.encode(errors="replace")  # a lone surrogate in a reply is no reason to lose it
