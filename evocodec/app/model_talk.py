"""Calls of a model for one candidate: what it was asked and what it said, as text."""

import json
from dataclasses import dataclass

from evocodec.app.laboratory import Laboratory
from evocodec.domain.events import ModelCalled
from evocodec.domain.vocabulary import CallOutcome, ModelRole


@dataclass(frozen=True, slots=True)
class CallText:
    """One call; ``messages`` are pairs of a role and a text. No reply is an empty one."""

    role: ModelRole
    attempt: int
    model: str
    outcome: CallOutcome
    prompt_tokens: int
    completion_tokens: int
    messages: tuple[tuple[str, str], ...]
    reply: str


def calls_of(lab: Laboratory, run_id: str, candidate_id: str) -> tuple[CallText, ...]:
    """Return the calls of a candidate in their order, from the ledger and its blobs."""
    return tuple(
        CallText(
            role=event.role,
            attempt=event.attempt,
            model=event.model,
            outcome=event.outcome,
            prompt_tokens=event.prompt_tokens,
            completion_tokens=event.completion_tokens,
            messages=_messages(lab.blobs.get(event.prompt_sha256)),
            reply=lab.blobs.get(event.reply_sha256).decode() if event.reply_sha256 else "",
        )
        for _, event in lab.ledger.events(run_id, candidate_id=candidate_id)
        if isinstance(event, ModelCalled)
    )


def _messages(prompt: bytes) -> tuple[tuple[str, str], ...]:
    return tuple((str(m["role"]), str(m["content"])) for m in json.loads(prompt))
