"""Programs and their differences on a terminal: whatever they hold, in bounded time and memory."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.syntax import Syntax

from evocodec.cli.render.text import sanitize

MOST_COLOURED_BYTES: Final = 96 << 10
_MOST_COLOURED_LINES: Final = 3000
_LONGEST_COLOURED_LINE: Final = 200  # a lexer takes time that grows with the square of a line
_DIFF_STYLES: Final = {"+": "green", "-": "red", "@": "cyan"}


class ProgramSource:
    """A rich renderable: a program, coloured where that is wanted and cheap, else as it is."""

    def __init__(self, text: str) -> None:
        self._text = sanitize(text, lines=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines."""
        if console.color_system is not None and _quickly_coloured(self._text):
            yield Syntax(self._text, "python", background_color="default")
        else:
            yield Segment(self._text if self._text.endswith("\n") else f"{self._text}\n")


def _quickly_coloured(text: str) -> bool:
    lines = text.split("\n")
    return (
        len(text) <= MOST_COLOURED_BYTES
        and len(lines) <= _MOST_COLOURED_LINES
        and all(len(line) <= _LONGEST_COLOURED_LINE for line in lines)
    )


class DiffLines:
    """A rich renderable: the clean lines of a unified difference.

    A styled text for each line would take a second for ten thousand lines.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield one segment for neighbouring lines of one style."""
        for style, lines in groupby(self._lines, _diff_style):
            text = "".join(f"{line}\n" for line in lines)
            yield Segment(text, console.get_style(style))


def _diff_style(line: str) -> str:
    if line.startswith(("---", "+++")):
        return "bold"
    return _DIFF_STYLES.get(line[:1], "default")
