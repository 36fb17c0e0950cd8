"""Failure of one request to a model, and what it may have cost."""

from dataclasses import dataclass
from enum import Enum

from evocodec.domain.vocabulary import CallOutcome
from evocodec.models.usage import Usage

_MESSAGE_LIMIT = 300


class Billing(Enum):
    """Whether a request without a usable reply is paid for."""

    NOTHING = "nothing"  # refused, or never begun
    UNKNOWN = "unknown"  # the worst is booked
    TOLD = "told"  # by the server's own count


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """What an endpoint said about an error: its status, and the fields of its body.

    ``parameter`` is the field of the request that it objects to, where it says so.
    """

    status: int
    message: str
    codes: tuple[str, ...] = ()
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Token counts that an endpoint states when a request is too long for it; 0: not stated."""

    limit: int = 0
    prompt: int = 0


class CallFailed(Exception):  # noqa: N818 - private to this package: the gateway translates it
    """A request without a reply.

    ``name`` is what the record says; ``retriable`` whether asking again can help; ``retry_after``
    the seconds that the server asked to wait; ``facts`` what it said, where it answered at all.
    """

    def __init__(
        self,
        name: CallOutcome,
        message: str,
        *,
        retriable: bool,
        retry_after: float | None = None,
        billing: Billing = Billing.NOTHING,
        usage: Usage | None = None,
        facts: ErrorFacts | None = None,
        sizes: Sizes | None = None,
    ) -> None:
        super().__init__(name, message)
        self.name = name
        self.message = " ".join(message.split())[:_MESSAGE_LIMIT]
        self.retriable = retriable
        self.retry_after = retry_after
        self.billing = billing
        self.usage = usage
        self.facts = facts
        self.sizes = sizes or Sizes()
