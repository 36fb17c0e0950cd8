"""The budget of a run: a call that could exceed it is not started."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from evocodec.config_sections import ModelSettings
from evocodec.domain.errors import BudgetExhausted
from evocodec.models.endpoint import Endpoint


class Budget:
    """Tokens and money spent, and reserved for running calls; thread-safe."""

    def __init__(self, settings: ModelSettings, *, tokens: int = 0, cost_usd: float = 0.0) -> None:
        self._settings = settings
        # Two calls must not both see the last of the budget as theirs.
        self._lock = threading.Lock()
        self._tokens, self._cost_usd = tokens, cost_usd
        self._promised_tokens, self._promised_usd = 0, 0.0

    @contextmanager
    def promise(self, endpoint: Endpoint, prompt_tokens: int) -> Iterator[None]:
        """Set aside the most that a call can use, until it ends.

        Raises BudgetExhausted when that is not there.
        """
        tokens = prompt_tokens + endpoint.max_tokens
        cost = endpoint.cost_usd(prompt_tokens, endpoint.max_tokens)
        with self._lock:
            self._check(tokens, cost)
            self._promised_tokens += tokens
            self._promised_usd += cost
        try:
            yield
        finally:
            with self._lock:
                self._promised_tokens -= tokens
                self._promised_usd -= cost

    def spend(self, tokens: int, cost_usd: float) -> None:
        """Book what a call used."""
        with self._lock:
            self._tokens += tokens
            self._cost_usd += cost_usd

    def _check(self, tokens: int, cost_usd: float) -> None:
        limit, limit_usd = self._settings.budget_tokens, self._settings.budget_usd
        used = self._tokens + self._promised_tokens
        used_usd = self._cost_usd + self._promised_usd
        if limit > 0 and used + tokens > limit:
            raise BudgetExhausted(
                f"the token budget does not cover another call: {used:,} of {limit:,} tokens are "
                f"used or promised, and a call may take {tokens:,}. Raise model.budget_tokens or "
                f"lower model.max_tokens, then resume the run"
            )
        if limit_usd > 0 and used_usd + cost_usd > limit_usd:
            raise BudgetExhausted(
                f"the money budget does not cover another call: ${used_usd:.4f} of "
                f"${limit_usd:.4f} are used or promised, and a call may cost ${cost_usd:.4f}. "
                f"Raise model.budget_usd, then resume the run"
            )
