"""Structured log for log collectors: stdout, stderr or a file, as JSON or as text."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

from evocodec.domain.errors import UserError
from evocodec.telemetry.log import JsonLines, attached
from evocodec.telemetry.redact import Redactor

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class TextLines(logging.Formatter):
    """One line a record for people; what could act on a terminal is escaped."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        clean = _CONTROLS.sub(lambda found: repr(found[0])[1:-1], self._redact(text))
        return f"{at} {record.levelname.lower():8} {record.name}: {clean}"


@contextmanager
def collected_log(
    where: str,
    run_id: str,
    *,
    form: Literal["text", "json"],
    level: str,
    redact: Redactor,
) -> Iterator[None]:
    """Send the log of a run to ``stdout``, ``stderr`` or the file ``where`` as well.

    Raises UserError when the file cannot be written.
    """
    handler = _handler(where)
    handler.setFormatter(JsonLines(run_id, redact) if form == "json" else TextLines(redact))
    with attached(handler, logging.getLevelNamesMapping()[level.upper()]):
        yield


def _handler(where: str) -> logging.Handler:
    if where in ("stdout", "stderr"):
        return logging.StreamHandler(sys.stdout if where == "stdout" else sys.stderr)
    try:
        return logging.FileHandler(where, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        message = (
            f"cannot write the log to {where}: {error}. Set telemetry.log_to to stdout, stderr or "
            "a file in a folder that exists"
        )
        raise UserError(message) from error
