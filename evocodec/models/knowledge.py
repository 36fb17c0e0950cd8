"""Knowledge of endpoints that was gained by asking them; it holds for one run."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from evocodec.models.endpoint import Endpoint
from evocodec.models.model_list import ModelFacts
from evocodec.models.refusals import TOKEN_LIMITS, Change

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Learnt:
    """What is known of one model of one server; 0 and None: not known.

    ``streams`` is whether a reply came as it was written; ``tokens_per_character`` the most that
    was seen in a prompt; ``reasoning`` where the server shows what the model wrote for itself. The
    prices are of input and output.
    """

    changes: tuple[Change, ...] = ()
    context_tokens: int = 0
    tokens_per_character: float = 0.0
    streams: bool | None = None
    reasoning: str = ""
    prices_usd_per_million: tuple[float, float] | None = None

    @property
    def most_tokens(self) -> int:
        """The most that the model writes in one reply, where it has said so; else 0."""
        return min((c.value for c in self.changes if c.kind == "lower"), default=0)


class Knowledge:
    """What was learnt of each server; any thread may ask and add.

    ``tell`` is called with a sentence for people when the way in which a server is called changes.
    """

    def __init__(self, tell: Callable[[Endpoint, str], None] | None = None) -> None:
        self.tell = tell
        # Calls side by side may be refused for the same reason: it is learnt once.
        self._lock = threading.Lock()
        self._servers: dict[tuple[str, str, str], Learnt] = {}
        self._told: set[tuple[tuple[str, str, str], str]] = set()

    def of(self, endpoint: Endpoint) -> Learnt:
        """Return what is known of a server."""
        with self._lock:
            return self._servers.get(endpoint.server, Learnt())

    def change(self, endpoint: Endpoint, change: Change, *, asked_with: Learnt) -> bool:
        """Remember a change; returns whether asking once more makes sense.

        It does when the change is new, or became known while this request was under way.
        """
        with self._lock:
            known = self._servers.get(endpoint.server, Learnt())
            if known.changes != asked_with.changes:
                return True
            if _has(known, change):
                if change.kind != "rename":
                    return False
                # Neither name is understood.
                change = Change("drop", change.field)
                if _has(known, change):
                    return False
            self._servers[endpoint.server] = replace(known, changes=(*known.changes, change))
        setting = change.setting
        name = setting.partition("=")[0]
        advice = f" (the same from the start: {endpoint.setting(name)}{setting[len(name) :]})"
        self._say(
            endpoint,
            f"{endpoint.model} at {endpoint.shown_url} refuses it otherwise: Evocodec "
            f"{change.told} from here on{advice if setting else ''}",
        )
        return True

    def context(self, endpoint: Endpoint, tokens: int) -> bool:
        """Remember the size of a context; returns whether that is new."""
        with self._lock:
            known = self._servers.get(endpoint.server, Learnt())
            if tokens <= 0 or 0 < known.context_tokens <= tokens:
                return False
            self._servers[endpoint.server] = replace(known, context_tokens=tokens)
            return True

    def facts(self, endpoint: Endpoint, facts: ModelFacts) -> None:
        """Remember what a list of models says."""
        self.context(endpoint, facts.context_tokens)
        prices = facts.input_usd_per_million, facts.output_usd_per_million
        if prices[0] is None or prices[1] is None:
            return
        with self._lock:
            known = self._servers.get(endpoint.server, Learnt())
            self._servers[endpoint.server] = replace(
                known, prices_usd_per_million=(prices[0], prices[1])
            )

    def answered(
        self,
        endpoint: Endpoint,
        *,
        streamed: bool,
        prompt_tokens: int,
        characters: int,
        reasoned: bool = False,
    ) -> None:
        """Remember how an answer came, and how long the server found its prompt."""
        with self._lock:
            known = self._servers.get(endpoint.server, Learnt())
            density = prompt_tokens / characters if characters > 2000 else 0.0
            self._servers[endpoint.server] = replace(
                known,
                streams=streamed,
                reasoning="beside the reply" if reasoned else known.reasoning,
                tokens_per_character=max(known.tokens_per_character, density),
            )

    def warn_once(self, endpoint: Endpoint, subject: str, text: str) -> None:
        """Report something about a server, once."""
        with self._lock:
            if (endpoint.server, subject) in self._told:
                return
            self._told.add((endpoint.server, subject))
        self._say(endpoint, text)

    def _say(self, endpoint: Endpoint, text: str) -> None:
        _logger.warning("%s", text)
        if self.tell is not None:
            self.tell(endpoint, text)


def _has(known: Learnt, change: Change) -> bool:
    if change.kind == "lower":
        lower = (each.value for each in known.changes if each.kind == "lower")
        return min(lower, default=change.value + 1) <= change.value
    same = {change.field}
    if change.kind == "drop" and change.field in TOKEN_LIMITS:
        same = set(TOKEN_LIMITS)
    return any(each.kind == change.kind and each.field in same for each in known.changes)
