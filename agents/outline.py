"""Outlines of programs for prompts: a long text in short, and the parts that a change touches.

Lines are looked at, nothing is parsed: a program may be anybody's, and prompts are made in the
controller.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evocodec.line_diff import unified_diff

_DEFINITION = re.compile(r"^(?P<indent>|    )(?:async )?(?:def|class) (?P<name>\w+)")
_CONSTANT = re.compile(r"^[A-Za-z_]\w*(?:: [^=]+)? = ")
_HEADING = re.compile(r"^# (?:\d+\.|Section\b|[A-Z][^.]{2,60}\.?$)")
_HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,(\d+))? @@")
_LONGEST_LINE = 160
_MOST_SHOWN = 40_000  # characters of a change and the functions round it
_MOST_PART_LINES = 160


@dataclass(frozen=True, slots=True)
class _Part:
    """A function or a class: its lines from ``first`` to ``last``, which is not included."""

    first: int
    last: int
    depth: int


def outline(text: str) -> str:
    """Return the skeleton of a program: headings, constants, signatures with what they are for.

    Every line begins with its number, and a definition ends with how many lines it has.
    """
    lines = text.split("\n")
    ends = {part.first: part.last for part in _parts(lines)}
    shown: list[str] = []
    for number, line in enumerate(lines):
        if number in ends:
            size = ends[number] - number
            shown.append(f"{number + 1}: {_signature(lines, number)} [{size}]")
            said = _said(lines, number)
            if said:
                shown.append(f"  {said}")
        elif _CONSTANT.match(line) or _HEADING.match(line):
            shown.append(f"{number + 1}: {line[:_LONGEST_LINE]}")
    return "\n".join(shown)


def change(before: str, after: str) -> str | None:
    """Return a difference and, with line numbers, the functions of ``after`` that it touches.

    None where the whole program says as much: when most of it is new.
    """
    if before == after:
        return None
    diff = "\n".join(unified_diff(before, after, from_label="parent", to_label="program"))
    lines = after.split("\n")
    touched = sorted(_touched(diff, lines), key=lambda part: part.first)
    shown = [f"The difference from its parent:\n{diff}"]
    for part in touched:
        size = part.last - part.first
        if size > _MOST_PART_LINES and part.depth == 0 and lines[part.first].startswith("class"):
            continue  # its methods are shown
        numbered = (f"{number + 1}: {lines[number]}" for number in range(part.first, part.last))
        shown.append("\n".join(numbered))
    together = "\n\n".join(shown)
    return together if len(together) < min(_MOST_SHOWN, 0.7 * len(after)) else None


def _touched(diff: str, lines: Sequence[str]) -> set[_Part]:
    parts = list(_parts(lines))
    found: set[_Part] = set()
    at = 0
    for line in diff.split("\n"):
        hunk = _HUNK.match(line)
        if hunk is not None:
            at = int(hunk[2]) - 1
            continue
        if line.startswith("+") or line.startswith("-"):
            found |= {part for part in parts if part.first <= at < part.last}
        if not line.startswith("-"):
            at += 1
    return found


def _parts(lines: Sequence[str]) -> Iterator[_Part]:
    """Functions and classes at the top, and the methods of classes, by their margins."""
    starts = [
        (number, len(match["indent"]))
        for number, line in enumerate(lines)
        if (match := _DEFINITION.match(line)) is not None
    ]
    in_class = False
    for number, indent in starts:
        if indent == 0:
            in_class = lines[number].startswith("class")
        elif not in_class:
            continue  # a function within a function
        last = number + 1
        while last < len(lines):
            line = lines[last]
            margin = len(line) - len(line.lstrip())
            if line.strip() and margin <= indent and not line.lstrip().startswith(")"):
                break
            last += 1
        while last > number + 1 and not lines[last - 1].strip():
            last -= 1
        yield _Part(number, last, indent)


def _signature(lines: Sequence[str], number: int) -> str:
    """The first line of a definition; the lines of a long one together."""
    text = lines[number].rstrip()
    for line in lines[number + 1 : number + 8]:
        if text.endswith(":"):
            break
        text += f" {line.strip()}"
    return text[:_LONGEST_LINE]


def _said(lines: Sequence[str], number: int) -> str:
    """The first line of a definition's docstring, or nothing."""
    for line in lines[number + 1 : number + 9]:
        bare = line.strip()
        if bare.startswith('"""'):
            return bare.strip('"').strip()[:_LONGEST_LINE]
        if lines[number].rstrip().endswith(":") and bare:
            return ""
    return ""
