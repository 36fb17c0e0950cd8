"""Numbers with their units, as text for people: in a terminal and on a page alike."""

import math
import re
from functools import lru_cache
from typing import Final

from evocodec.domain.errors import UserError
from evocodec.domain.results import Interval

DASH: Final = "–"
"""Stands where there is no number."""

_LONGEST_SIZE: Final = 24


def number(value: float | None, digits: int = 2, *, grouped: bool = False) -> str:
    """A fixed-point number, with commas between thousands if ``grouped``; a dash for none."""
    if value is None or not math.isfinite(value):
        return DASH
    return _minus(f"{value:,.{digits}f}" if grouped else f"{value:.{digits}f}")


def signed(value: float | None, digits: int = 1) -> str:
    """A number with its sign, as differences are read."""
    if value is None or not math.isfinite(value):
        return DASH
    return _minus(f"{round(value, digits) + 0.0:+.{digits}f}")  # no negative zero


def percent(value: float | None, digits: int = 1) -> str:
    """A signed percentage."""
    text = signed(value, digits)
    return text if text == DASH else f"{text} %"


def interval(found: Interval | None) -> str:
    """Both ends of an interval in per cent, or nothing."""
    return "" if found is None else f"{signed(found.low)} … {signed(found.high)} %"


def duration(seconds: float | None) -> str:
    """Minutes and seconds, with hours from one hour on."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    return _whole_duration(max(int(seconds), 0))


@lru_cache(maxsize=1024)  # the lines of a log are many in each second
def _whole_duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def amount(value: int) -> str:
    """A count in at most four characters or so: 950, 12.3k, 4.56M."""
    if value < 1000:
        return str(value)
    if value < 1_000_000:
        return f"{value / 1000:.3g}k"
    return f"{value / 1_000_000:.3g}M"


def size(count: float) -> str:
    """A number of bytes with a binary unit."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def parse_size(text: str) -> int:
    """Read a number of bytes as people write it: 1000000, 500MB, 1.5 GiB. Raises ``UserError``."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text, re.ASCII | re.IGNORECASE)
    if match is None or len(text) > _LONGEST_SIZE:
        raise UserError(f"{text[:_LONGEST_SIZE]!r} is no size; write 1000000, 500MB or 8GiB")
    power = " kmgt".index(match[2].lower() or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def money(usd: float) -> str:
    """US dollars, with more digits when there are few."""
    return f"${usd:.2f}" if usd >= 0.1 or usd == 0 else f"${usd:.4f}"


def plural(count: int, noun: str) -> str:
    """A count and its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def harmless_cell(cell: object) -> object:
    """Return a cell of a table that no spreadsheet runs as a formula."""
    # A spreadsheet runs a text that begins so as a formula, and names come from outside.
    if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@"}:
        return f"'{cell}"
    return cell
