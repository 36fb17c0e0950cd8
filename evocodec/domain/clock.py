"""Time format of events and reports: UTC, ISO 8601, milliseconds, with its offset.

``2026-11-30T14:17:05.123+00:00``. Ledgers written before 0.2 leave the offset out, or write ``Z``:
all three are read.
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
    if moment.tzinfo is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def epoch_seconds(at: str) -> float | None:
    """Seconds from 1970 to an event's time; None for a text that is no time, such as none yet."""
    try:
        return parse_time(at).timestamp()
    except ValueError:
        return None


def seconds_between(earlier: str, later: str) -> float | None:
    """Seconds from one event's time to another's; None where either is no time."""
    start, end = epoch_seconds(earlier), epoch_seconds(later)
    return None if start is None or end is None else end - start
