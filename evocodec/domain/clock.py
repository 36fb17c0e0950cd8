"""The one format of time in events and reports: UTC, ISO 8601, milliseconds, with its offset.

``2026-11-30T14:17:05.123+00:00``. Ledgers written before 0.2 leave the offset out, or write ``Z``:
``parse_time`` reads all three.
"""

from datetime import UTC, datetime


def utc_now() -> str:
    """The present, as every event and report writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def parse_time(at: str) -> datetime:
    """An event's time, always in UTC; a text without an offset is in UTC, too.

    Raises:
        ValueError: the text is no time.
    """
    moment = datetime.fromisoformat(at)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def seconds_between(earlier: str, later: str) -> float:
    """Seconds from one event's time to another's; negative when they are the other way round."""
    return (parse_time(later) - parse_time(earlier)).total_seconds()
