"""What goes to a chat model, what comes back, and what a gateway to one promises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from evocodec.config import ModelRole


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that was received, whatever it is worth.

    ``outcome``: ``ok``; ``empty`` (no text); ``refused`` (the model or its filter declined);
    ``truncated`` (stopped at the token limit before it was usable); ``unparsable`` (text, but not
    what was asked for). ``recorded`` tells that it came from the ledger and cost nothing now.
    """

    text: str
    outcome: str
    model: str
    recorded: bool = False


class ChatGateway(Protocol):
    """The only way to a language model. Any thread may call."""

    def chat(
        self,
        role: ModelRole,
        messages: Sequence[Message],
        *,
        candidate_id: str,
        attempt: int,
        template_sha256: str,
        classify: Callable[[str], str] | None = None,
    ) -> Reply:
        """Ask once, and record it under the candidate, role and attempt.

        A reply that was recorded before is returned again without a call. ``classify`` looks at a
        reply's text and names its outcome (``ok``, ``unparsable``, ``refused``) before it is
        recorded.

        Raises CandidateFailure (NO_CODE) when the prompt is too long for the model, ConfigError
        when the endpoint rejects the key, the model's name or a parameter, BudgetExhausted before a
        call that the budget does not cover, and EndpointUnavailable when retrying did not help.
        """
        ...
