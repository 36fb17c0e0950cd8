"""Fields that every event has."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBase:
    """Fields of every event; ``at`` is UTC, ISO 8601 with milliseconds."""

    run_id: str
    at: str
    candidate_id: str = ""

    @property
    def key(self) -> str:
        """Unique within the run."""
        raise NotImplementedError
