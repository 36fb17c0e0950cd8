"""One call of a model: tries, pauses, changes of form, and what all of it cost."""

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from evocodec.config_sections import ModelSettings
from evocodec.domain.errors import EvocodecError
from evocodec.domain.vocabulary import CallOutcome
from evocodec.models.answers import Completion
from evocodec.models.budget import Budget
from evocodec.models.contract import ChatMessage
from evocodec.models.endpoint import Endpoint
from evocodec.models.failure import Billing, CallFailed
from evocodec.models.knowledge import Knowledge, Learnt
from evocodec.models.refusals import refused
from evocodec.models.sizes import FEWEST_TOKENS, prompt_tokens, sized
from evocodec.models.transport import Ask, RequestProgress, Transport
from evocodec.models.usage import Booked, book, worst

_LONGEST_BACKOFF_SECONDS = 30.0
_MOST_CHANGES = 12  # of one call: each is learnt once, so there are fewer
_WORDS = {
    CallOutcome.RATE_LIMITED: "rate limit",
    CallOutcome.SERVER_ERROR: "server error",
    CallOutcome.CONNECTION: "no connection",
    CallOutcome.TIMEOUT: "time-out",
    CallOutcome.MALFORMED: "answer of no known form",
}


class Cancelled(Exception):  # noqa: N818 - private to this package
    """The run was stopped while a request was under way."""


class Surroundings(Protocol):
    """What a call needs of its gateway."""

    def perform(self, ask: Callable[[], Awaitable[Completion]]) -> Completion:
        """Run a request to its end; raises Cancelled when the run is stopped meanwhile."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait; raises Cancelled when the run is stopped meanwhile."""
        ...

    def stopped(self) -> bool:
        """Return whether the run was stopped."""
        ...


@dataclass
class Call:
    """One call and what it took so far; ``waiting`` is called at each pause: seconds, and why."""

    endpoint: Endpoint
    messages: Sequence[ChatMessage]
    settings: ModelSettings
    budget: Budget
    knowledge: Knowledge
    transport: Transport
    gateway: Surroundings
    waiting: Callable[[float, str], None] = lambda _seconds, _why: None
    tries: int = 0
    booked: Booked = field(default_factory=Booked)
    _changes: int = 0
    _attempts: int = 0
    _started: float = field(default_factory=time.monotonic)
    _life: float = field(default_factory=time.monotonic)

    @property
    def wall_seconds(self) -> float:
        """Seconds since the call began."""
        return time.monotonic() - self._started

    def run(self) -> Completion:
        """Ask until there is a reply, or until asking again makes no sense.

        Raises CallFailed for the last try, Cancelled, BudgetExhausted, and ConfigError.
        """
        while True:
            learnt = self.knowledge.of(self.endpoint)
            try:
                return self._try(learnt)
            except CallFailed as failure:
                if self._adapt(failure, learnt):
                    continue
                self._attempts += 1
                pause = self._pause(failure)
                gone = time.monotonic() + pause - self._life > self.settings.gone_after_seconds
                if not failure.retriable or self._attempts > self.settings.max_retries or gone:
                    raise
                self.waiting(pause, f"{_WORDS[failure.name]}: {failure.message}")
                try:
                    self.gateway.pause(pause)
                except Cancelled:
                    raise failure from None  # nothing was under way

    def _try(self, learnt: Learnt) -> Completion:
        endpoint = sized(self.endpoint, self.messages, learnt)
        prompt = prompt_tokens(self.messages, learnt)
        progress = RequestProgress()
        ask = Ask(endpoint, self.messages, learnt.changes, learnt.streams is False, progress)
        with self.budget.promise(
            endpoint,
            prompt,
            waiting=lambda why: self.waiting(0.0, why),
            stopped=self.gateway.stopped,
        ) as promise:
            self.tries += 1
            try:
                completion = self.gateway.perform(lambda: self.transport.complete(ask))
            except CallFailed as failure:
                promise.booked = self._cost_of(failure, endpoint, prompt)
                raise
            except (Cancelled, EvocodecError):
                promise.booked = worst(endpoint, prompt) if progress.sent else Booked()
                raise
            else:
                promise.booked = self._received(completion, endpoint, streamed=progress.streamed)
                return completion
            finally:
                self.booked += promise.booked
                self._life = progress.life or self._life

    def _received(self, completion: Completion, endpoint: Endpoint, *, streamed: bool) -> Booked:
        booked = book(endpoint, self.messages, completion.text, completion.usage)
        usage = completion.usage
        if booked.cut and usage is not None:
            self.knowledge.warn_once(
                endpoint,
                "cut",
                f"{endpoint.model} at {endpoint.shown_url} says that it read "
                f"{usage.prompt_tokens:,} tokens of a prompt of about {booked.prompt_tokens:,}: "
                f"its context is probably smaller, and the prompt was cut without a word (Ollama: "
                f"raise num_ctx or OLLAMA_CONTEXT_LENGTH)",
            )
        said = usage is not None and bool(usage.prompt_tokens) and not booked.cut
        self.knowledge.answered(
            endpoint,
            streamed=streamed,
            prompt_tokens=booked.prompt_tokens if said else 0,
            characters=sum(len(message.content) for message in self.messages),
            reasoned=bool(completion.reasoning),
        )
        return booked

    def _cost_of(self, failure: CallFailed, endpoint: Endpoint, prompt: int) -> Booked:
        match failure.billing:
            case Billing.NOTHING:
                return Booked()
            case Billing.TOLD:
                return book(endpoint, self.messages, "", failure.usage)
            case Billing.UNKNOWN:
                return worst(endpoint, prompt)

    def _adapt(self, failure: CallFailed, learnt: Learnt) -> bool:
        """Learn from a refusal; returns whether to ask once more in another form."""
        facts = failure.facts
        if facts is None or self._changes >= _MOST_CHANGES:
            return False
        self._changes += 1
        if failure.name is CallOutcome.CONTEXT_OVERFLOW:
            return self._shorten(failure, learnt)
        if failure.name in (CallOutcome.AUTHENTICATION, CallOutcome.QUOTA):
            return False
        if failure.name is CallOutcome.RATE_LIMITED:
            return False
        endpoint = sized(self.endpoint, self.messages, learnt)
        change = refused(facts, Ask(endpoint, self.messages, learnt.changes).payload())
        return change is not None and self.knowledge.change(
            self.endpoint, change, asked_with=learnt
        )

    def _shorten(self, failure: CallFailed, learnt: Learnt) -> bool:
        """Ask for a shorter reply where both together did not fit, by the error's text."""
        limit, prompt = failure.sizes.limit, failure.sizes.prompt
        if not limit:
            return False
        asked = sized(self.endpoint, self.messages, learnt).max_tokens
        if prompt:
            characters = sum(len(message.content) for message in self.messages)
            self.knowledge.answered(
                self.endpoint,
                streamed=learnt.streams is not False,
                prompt_tokens=prompt,
                characters=characters,
            )
        self.knowledge.context(self.endpoint, limit)
        now = sized(self.endpoint, self.messages, self.knowledge.of(self.endpoint)).max_tokens
        return FEWEST_TOKENS <= now < asked and limit - (prompt or 0) > now

    def _pause(self, failure: CallFailed) -> float:
        """Seconds before the next try: growing, scattered, and never less than the server asks."""
        grown = self.settings.backoff_seconds * 2.0 ** (self._attempts - 1)
        pause = min(grown, _LONGEST_BACKOFF_SECONDS) * random.uniform(0.5, 1.0)
        return max(pause, failure.retry_after or 0.0)
