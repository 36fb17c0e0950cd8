"""Model contract: request to a chat model, its reply, and what a gateway guarantees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from evocodec.domain.candidate import Origin
from evocodec.domain.vocabulary import CallOutcome, ModelRole


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that was received, whatever it is worth.

    ``model`` is the one that wrote it, in a replay as well. ``recorded`` tells that it came from
    the ledger and cost nothing now.
    """

    text: str
    outcome: CallOutcome
    model: str
    recorded: bool = False


class ChatGateway(Protocol):
    """The only way to a language model. Any thread may call."""

    @property
    def origin(self) -> Origin:
        """Origin of programs that its replies yield: a model, or recorded replies of one."""
        ...

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
        """Ask once, and record it under the candidate, role and attempt.

        A reply that was recorded before is returned again without a call. ``classify`` looks at a
        reply's text and names its outcome before it is recorded.

        Raises CandidateFailure (NO_CODE) when the prompt is too long for the model, ConfigError
        when the endpoint rejects the key, the model's name or a parameter, BudgetExhausted before a
        call that the budget does not cover, and EndpointUnavailable when retrying did not help.
        """
        ...
