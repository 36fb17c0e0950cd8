"""ffmpeg's messages: the real cause in what ffmpeg wrote, in words that a person can use."""

import re

_MOST = 300
# `[matroska,webm @ 0x55d0…]` says which part speaks, by an address that means nothing.
_SPEAKER = re.compile(r"^(?:\[[^\]]*\]\s*)+")
_ADDRESS = re.compile(r"\s*@ 0x[0-9a-f]+|0x[0-9a-f]{6,}")
# What follows from a cause that was told before.
_CONSEQUENCES = (
    "Error opening",
    "At least one",
    "Error while",
    "Error sending",
    "Error submitting",
    "Error muxing",
    "Error processing",
    "Terminating thread",
    "Task finished",
    "Conversion failed",
    "Nothing was written",
    "Decoding error",
    "Last message repeated",
    "Input #",
    "Could not open encoder",
)
# Complaints about streams that are not read, or about times: no damage to pictures.
_HARMLESS = (
    "Could not find codec parameters for stream",
    "Consider increasing the value for the 'analyzeduration'",
    "Unsupported codec with id",
    "Application provided invalid, non monotonically",
    "Failed to open codec in avformat_find_stream_info",
)


def cause(report: str) -> str:
    """Return the first line that tells a cause, without addresses; empty where there is none."""
    lines = [_plain(line) for line in report.splitlines()]
    lines = [line for line in lines if line and not line.startswith(_HARMLESS)]
    telling = [line for line in lines if not line.startswith(_CONSEQUENCES)]
    found = (telling or lines or [""])[0]
    return found.removeprefix("Error opening input: ")[:_MOST]


def _plain(line: str) -> str:
    return _ADDRESS.sub("", _SPEAKER.sub("", line.strip())).strip()
