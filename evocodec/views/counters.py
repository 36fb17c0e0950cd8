"""Counters of a run that grow by one event at a time."""

from dataclasses import dataclass

from evocodec.domain.clock import epoch_seconds
from evocodec.domain.events import ModelCalled


@dataclass(slots=True)
class Totals:
    """Sums over a run."""

    points: int = 0
    retries: int = 0
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0

    def add_call(self, event: ModelCalled) -> None:
        """Add one call of a language model."""
        self.model_calls += 1
        self.prompt_tokens += event.prompt_tokens
        self.completion_tokens += event.completion_tokens
        self.cost_usd += event.cost_usd


class BestSoFar:
    """The candidate with the lowest bitrate: an adopted one before all others, else the first."""

    def __init__(self) -> None:
        self._ranks: dict[str, tuple[bool, float, int]] = {}
        self._best = ""

    def put(self, name: str, bitrate_mbps: float, *, adopted: bool, place: int) -> None:
        """Record a candidate's score, or a newer one; ``place`` is its position in the run."""
        known = self._ranks.get(name)
        rank = (not adopted, bitrate_mbps, place)
        self._ranks[name] = rank
        if name == self._best and known is not None and rank > known:
            self._best = min(self._ranks, key=self._ranks.__getitem__)  # it was the best: no more?
        elif not self._best or rank < self._ranks[self._best]:
            self._best = name

    def best(self) -> str:
        """The candidate's id; empty before the first score."""
        return self._best


@dataclass(slots=True)
class SessionTime:
    """Seconds of a run's sessions: ``seconds`` of those that ended, and when one ``began``."""

    seconds: float = 0.0
    began: float | None = None

    def begin(self, at: str) -> None:
        """Begin a session at an event's time."""
        self.began = epoch_seconds(at)

    def end(self, at: str) -> None:
        """End the session, if one is open, at an event's time."""
        self.seconds += self._open(at)
        self.began = None

    def until(self, at: str) -> float:
        """Return the seconds of all sessions, the open one until an event's time."""
        return self.seconds + self._open(at)

    def _open(self, at: str) -> float:
        end = epoch_seconds(at)
        return 0.0 if self.began is None or end is None else max(end - self.began, 0.0)
