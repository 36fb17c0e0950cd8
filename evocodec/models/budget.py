"""The budget of a run: a call that could exceed it is not started."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from evocodec.config_sections import ModelSettings
from evocodec.domain.errors import BudgetExhausted
from evocodec.models.endpoint import Endpoint
from evocodec.models.usage import Booked, worst

_LOOK_SECONDS = 1.0  # how often someone who waits for money looks whether the run was stopped
_ROUNDING_USD = 1e-9


@dataclass
class Promise:
    """What one request may use at most; ``booked`` is what it did use, set before it ends."""

    most: Booked
    booked: Booked = Booked()  # noqa: RUF009 - frozen


class Budget:
    """Tokens and money spent, and promised to running calls; thread-safe."""

    def __init__(self, settings: ModelSettings, *, tokens: int = 0, cost_usd: float = 0.0) -> None:
        self._settings = settings
        # Two calls must not both see the last of the budget as theirs; who waits is told of change.
        self._changed = threading.Condition()
        self._tokens, self._cost_usd = tokens, cost_usd
        self._promised_tokens, self._promised_usd, self._calls = 0, 0.0, 0

    @property
    def spent(self) -> Booked:
        """What was spent so far, tokens as completion tokens."""
        with self._changed:
            return Booked(0, self._tokens, self._cost_usd)

    @contextmanager
    def promise(
        self,
        endpoint: Endpoint,
        prompt_tokens: int,
        *,
        waiting: Callable[[str], None] = lambda _why: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Promise]:
        """Set aside the most that a request can use, until it ends, and book what it did use.

        A request that fits only once running calls turn out cheaper than they might waits for them;
        ``waiting`` is called with the reason, and ``stopped`` ends the wait. Raises BudgetExhausted
        when what is spent already leaves too little.
        """
        promise = Promise(worst(endpoint, prompt_tokens))
        tokens = promise.most.prompt_tokens + promise.most.completion_tokens
        cost = promise.most.cost_usd
        with self._changed:
            self._await_room(tokens, cost, waiting, stopped)
            self._promised_tokens += tokens
            self._promised_usd += cost
            self._calls += 1
        try:
            yield promise
        finally:
            with self._changed:
                self._promised_tokens -= tokens
                self._promised_usd -= cost
                self._calls -= 1
                if not self._calls:
                    self._promised_usd = 0.0  # sums of fractions leave a trace
                self._tokens += promise.booked.prompt_tokens + promise.booked.completion_tokens
                self._cost_usd += promise.booked.cost_usd
                self._changed.notify_all()

    def _await_room(
        self,
        tokens: int,
        cost: float,
        waiting: Callable[[str], None],
        stopped: Callable[[], bool],
    ) -> None:
        told = False
        while True:
            self._require(tokens, cost)
            if self._fits(tokens + self._promised_tokens, cost + self._promised_usd) or stopped():
                return
            if not told:
                told = True
                waiting("what is left of the budget is promised to calls under way")
            self._changed.wait(_LOOK_SECONDS)

    def _fits(self, tokens: int, cost: float) -> bool:
        limit, limit_usd = self._settings.budget_tokens, self._settings.budget_usd
        within = not limit or self._tokens + tokens <= limit
        return within and (not limit_usd or self._cost_usd + cost <= limit_usd + _ROUNDING_USD)

    def _require(self, tokens: int, cost: float) -> None:
        """Raise BudgetExhausted when a call does not fit even if all others turn out to be free."""
        limit, limit_usd = self._settings.budget_tokens, self._settings.budget_usd
        if not self._fits(tokens, 0.0):
            raise BudgetExhausted(
                f"the token budget does not cover another call: {self._tokens:,} of {limit:,} "
                f"tokens are used, and a call may take {tokens:,}. Raise model.budget_tokens or "
                f"lower model.max_tokens, then resume the run"
            )
        if not self._fits(0, cost):
            raise BudgetExhausted(
                f"the money budget does not cover another call: ${self._cost_usd:.4f} of "
                f"${limit_usd:.4f} are used, and a call may cost ${cost:.4f}. Raise "
                f"model.budget_usd or lower model.max_tokens, then resume the run"
            )
