"""Wording of reports, shared by all output formats."""

from collections.abc import Iterator

from evocodec.report.model import Report


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
