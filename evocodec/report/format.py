"""Numbers and untrusted text for pages: a minus sign, units, and nothing that is markup."""

import math
from collections.abc import Iterator
from html import escape

from evocodec.domain.results import Comparison, Interval, Metric
from evocodec.report.model import Report

DASH = "–"


def number(value: float | None, digits: int = 2) -> str:
    """A fixed-point number, or a dash when there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:,.{digits}f}".replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """A signed percentage."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{round(value, digits) + 0.0:+.{digits}f} %".replace("-", "−")


def interval(found: Interval | None) -> str:
    """Both ends of an interval in per cent, or nothing."""
    if found is None:
        return ""
    low, high = (percent(end).removesuffix(" %") for end in (found.low, found.high))
    return f"{low} … {high} %"


def size(count: float) -> str:
    """Bytes with a binary unit."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def sense(value: float | None) -> str:
    """The class of a BD-rate: fewer bits are good."""
    if value is None or abs(value) < 0.05:
        return ""
    return "good" if value < 0 else "bad"


def same_hour(report: Report) -> Iterator[str]:
    """For each program, its time over the primary anchor's, both run side by side."""
    for codec in report.codecs:
        encode, decode = codec.encode_time_ratio, codec.decode_time_ratio
        if encode is not None and decode is not None:
            yield (
                f"{codec.name} takes {encode:.3g} times the CPU time of HEVC (x265 medium) to "
                f"encode and {decode:.3g} times to decode, run in the same minutes on this machine "
                "at the rate nearest the operating quality."
            )


def quality(value: float | None, metric: Metric) -> str:
    """A quality with as many digits as it deserves."""
    return number(value, 1 if metric in (Metric.VMAF, Metric.VMAF_NEG) else 2)


def problem(found: Comparison) -> str:
    """A comparison's trouble in one line, safe to stand in a page."""
    return escape(f"{found.clip}, {found.anchor}: {found.problem}")
