"""Untrusted text made harmless for a terminal, and cut to what fits.

What a program or a model wrote may hold escape sequences that retitle, clear or re-colour a
terminal, and brackets that rich takes for markup. ``sanitize`` removes the former; everything here
returns plain ``str`` or ``rich.text.Text``, and no console of ours reads markup.
"""

import re
import unicodedata
from collections.abc import Sequence

from evocodec.domain.results import HEVC_BITRATE_MBPS

# CSI, then the string sequences (OSC, DCS, SOS, PM, APC) up to their terminator, then two-byte
# escapes. Whatever is left of a broken sequence loses its control characters below.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    # A sequence that begins ends the one before it; else many that never end take for ever.
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])"
    r"[^\x07\x1b\x9c\n\x9d\x90\x98\x9e\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
_BLOCKS = "▁▂▃▄▅▆▇█"


def sanitize(text: str, *, lines: bool = False) -> str:
    """Return ``text`` without terminal control; one line unless ``lines``.

    Removes escape sequences, control characters, and the invisible format characters that reorder
    text. Newlines stay with ``lines`` and become spaces without.
    """
    if text.isprintable():  # nearly all texts: nothing to take out, and no line ends
        return text if lines else " ".join(text.split())
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").expandtabs(4)
    if not lines:
        text = " ".join(text.split())
    return "".join(c for c in text if c == "\n" or _harmless(c))


def _harmless(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def shorten(text: str, width: int) -> str:
    """Return one clean line of at most ``width`` characters, cut at a word where that is near."""
    text = sanitize(text)
    if len(text) <= width:
        return text
    cut = text[: max(width - 1, 0)]
    space = cut.rfind(" ")
    return (cut[:space] if space > width * 2 // 3 else cut).rstrip(" ,;:") + "…"


def quote_block(text: str, *, limit: int = 40) -> str:
    """Return untrusted lines behind a bar, at most the last ``limit`` of them."""
    lines = sanitize(text, lines=True).strip("\n").split("\n")
    left_out = len(lines) - limit
    if left_out > 0:
        lines = [f"… {left_out} lines left out", *lines[-limit:]]
    return "\n".join(f"│ {line}".rstrip() for line in lines)


def versus_hevc(bitrate_mbps: float | None) -> float | None:
    """Return how many per cent more (+) or fewer (−) bits than HEVC, which is 10 by definition."""
    return None if bitrate_mbps is None else (bitrate_mbps / HEVC_BITRATE_MBPS - 1.0) * 100.0


def sparkline(values: Sequence[float]) -> str:
    """Return one block per value, scaled from zero, so that heights compare honestly."""
    top = max(values, default=0.0)
    if top <= 0:
        return ""
    return "".join(_BLOCKS[min(int(v / top * 8), 7)] for v in values)
