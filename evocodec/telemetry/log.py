"""The structured log of a run: one JSON object a line, in one file."""

import json
import logging
import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from evocodec.domain.events import Event
from evocodec.telemetry.redact import Redactor

_ROOT = "evocodec"
_EVENTS = logging.getLogger("evocodec.events")
_MAX_TEXT = 8_000
# What makes a line of an event worth searching for, beside its kind.
_FACTS = ("stage", "status", "outcome", "failure", "reason", "role", "version", "commit")
# What every LogRecord has; anything else came in through ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: UTC time, level, logger, run, message and extras.

    Texts are cut at 8,000 characters, because some of them (a candidate's traceback) are untrusted
    and may be of any length. Line breaks inside them are escaped by JSON. Secrets are hidden.
    """

    def __init__(self, run_id: str, redact: Redactor | None = None) -> None:
        super().__init__()
        self._run_id = run_id
        self._redact = redact or Redactor()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "run_id": self._run_id,
            "message": self._bounded(record.getMessage()),
        }
        extras = {
            name: value
            for name, value in vars(record).items()
            # Ray marks every record of the process with a private attribute of its own.
            if name not in _STANDARD and not name.startswith("_")
        }
        line |= {name: self._plain(value) for name, value in extras.items()}
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = self._bounded("".join(traceback.format_exception(*record.exc_info)))
        return json.dumps(line, ensure_ascii=False)

    def _plain(self, value: object) -> object:
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float) and math.isfinite(value):  # JSON has no NaN
            return value
        return self._bounded(str(value))

    def _bounded(self, text: str) -> str:
        # Hidden before the cut, which could leave the beginning of a key.
        text = self._redact(text)
        cut = len(text) - _MAX_TEXT
        return text if cut <= 0 else f"{text[:_MAX_TEXT]}… ({cut} characters more)"


@contextmanager
def run_log(
    path: Path, run_id: str, *, level: int = logging.INFO, redact: Redactor | None = None
) -> Iterator[None]:
    """Send everything below the ``evocodec`` logger to ``path`` while the context lasts.

    The file is appended to, so a resumed run goes on where it stopped.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(JsonLines(run_id, redact))
    with attached(handler, level):
        yield


@contextmanager
def attached(handler: logging.Handler, level: int) -> Iterator[None]:
    """Give a handler everything below the ``evocodec`` logger, and close it afterwards."""
    handler.setLevel(level)
    logger = logging.getLogger(_ROOT)
    before = logger.level
    logger.setLevel(min(level, logger.getEffectiveLevel()))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()


def log_event(event: Event) -> None:
    """Write one event as a log line; subscribe it to the bus."""
    extra: dict[str, object] = {"event": event.kind, "key": event.key}
    if event.candidate_id:
        extra["candidate_id"] = event.candidate_id
    extra |= {name: getattr(event, name) for name in _FACTS if hasattr(event, name)}
    _EVENTS.info("%s", event.key, extra=extra)
