"""Edits in a reply: SEARCH/REPLACE blocks and unified diffs, as pairs of old and new lines."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agents.reading.blocks import Block, without_lines
from agents.reading.candidates import without_numbers

HEAD = re.compile(
    r"^(?P<margin>[ \t]*)(?:<{5,9} ?(?:SEARCH|ORIGINAL|HEAD|OLD|BEFORE)\b.*|-{5,9} ?SEARCH\b.*)$"
)
_DIVIDER = re.compile(r"^[ \t]*={5,9}[ \t]*$")
_TAIL = re.compile(r"^[ \t]*(?:>{5,9} ?(?:REPLACE|UPDATED|NEW|AFTER|\w[\w/.-]*)?"
                   r"|\+{5,9} ?REPLACE)\b"
                   r".*$|^[ \t]*>{5,9}[ \t]*$")  # fmt: skip
_HUNK = re.compile(r"^@@(?: -(?P<line>\d+)(?:,\d+)? \+\d+(?:,\d+)?)? ?@*.*$")
_FILE = re.compile(r"^(?:diff |index |--- (?:a/|/|\w)|\+\+\+ (?:b/|/|\w)|\*\*\* |new file|old mode|"
                   r"new mode|similarity )")  # fmt: skip
_FENCE = re.compile(r"^\s*(?:`{3,}|~{3,}).*$")


@dataclass(frozen=True, slots=True)
class Edit:
    """Lines to find and lines to put in their place; ``line`` is where a diff says they are."""

    old: str
    new: str
    line: int = 0


class MalformedEditError(ValueError):
    """An edit that cannot be read; the message says what is wrong."""


def has_edits(text: str, blocks: Sequence[Block]) -> bool:
    """Whether a text has something that wants to be an edit."""
    return any(HEAD.match(line) for line in text.split("\n")) or any(
        True for _ in _diff_texts(text, blocks)
    )


def edit_spans(text: str) -> list[tuple[int, int]]:
    """First and last line, which is not included, of each whole edit block and of each hunk."""
    lines = text.split("\n")
    found: list[tuple[int, int]] = []
    begun = 0
    for number, line in enumerate(lines):
        if HEAD.match(line):
            begun = number + 1
        elif begun and _TAIL.match(line):
            if any(_DIVIDER.match(inner) for inner in lines[begun:number]):
                found.append((begun - 1, number))
            begun = 0
        if _HUNK.match(line):
            last = number + 1
            while last < len(lines) and (not lines[last] or lines[last][0] in " +-\\\t"):
                last += 1
            found.append((number, last))
    return found


def edits_in(text: str, blocks: Sequence[Block]) -> list[Edit]:
    """All edits in order; raises MalformedEditError when one of them cannot be read."""
    lines = text.split("\n")
    if any(HEAD.match(line) for line in lines):
        return list(_search_replace(lines))
    outer = without_lines(text, [(block.first, block.last) for block in blocks])
    if blocks and any(_HUNK.match(line) for line in outer.split("\n")):
        raise MalformedEditError("The diff goes on outside of its fence. Answer with one diff.")
    found: list[Edit] = []
    for diff in _diff_texts(text, blocks):
        found += _hunks(diff)
    return found


def _search_replace(lines: list[str]) -> Iterator[Edit]:
    number = 0
    while number < len(lines):
        head = HEAD.match(lines[number])
        if head is None and _TAIL.match(lines[number]):
            raise MalformedEditError(_FORM)
        number += 1
        if head is None:
            continue
        block: list[str] = []
        while number < len(lines) and not _TAIL.match(lines[number]):
            if HEAD.match(lines[number]):
                raise MalformedEditError(_FORM)
            block.append(lines[number])
            number += 1
        if number == len(lines):
            raise MalformedEditError(_FORM)
        number += 1
        yield _split(block, head["margin"])


_FORM = (
    "An edit block is malformed: each needs <<<<<<< SEARCH, =======, >>>>>>> REPLACE, every one "
    "on a line of its own."
)


def _split(block: list[str], margin: str) -> Edit:
    dividers = [number for number, line in enumerate(block) if _DIVIDER.match(line)]
    if not dividers:
        raise MalformedEditError(_FORM)
    if len(dividers) > 1:
        raise MalformedEditError(
            "An edit block has several lines of ======= and it is not clear which one parts the "
            "old lines from the new: choose edits without such a line, or send the whole program."
        )
    old, new = block[: dividers[0]], block[dividers[0] + 1 :]
    old, new = _unfenced(old), _unfenced(new)
    if margin and all(line.startswith(margin) or not line.strip() for line in old + new):
        old, new = ([line[len(margin) :] for line in part] for part in (old, new))
    return Edit(*_unnumbered(_text(old), _text(new)))


def _unfenced(lines: list[str]) -> list[str]:
    """Without a fence of its own round the lines."""
    filled = [number for number, line in enumerate(lines) if line.strip()]
    if len(filled) >= 2 and all(_FENCE.match(lines[filled[end]]) for end in (0, -1)):
        return lines[filled[0] + 1 : filled[-1]]
    return lines


def _unnumbered(old: str, new: str) -> tuple[str, str]:
    """Without line numbers, where the program was copied with them."""
    plain_old = without_numbers(old)
    if plain_old is None:
        return old, new
    plain_new = without_numbers(new)
    return plain_old + "\n", new if plain_new is None else plain_new + "\n"


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _diff_texts(text: str, blocks: Sequence[Block]) -> Iterator[list[str]]:
    """Bodies that are unified diffs: blocks that say so or look so, and bare diffs."""
    fenced = False
    for block in blocks:
        lines = block.body.split("\n")
        named = block.info.strip().lower().split(" ")[0] in {"diff", "patch", "udiff"}
        if named or any(_HUNK.match(line) for line in lines):
            fenced = True
            yield lines
    if not fenced and not blocks:
        lines = text.split("\n")
        hunks = [number for number, line in enumerate(lines) if _HUNK.match(line)]
        if hunks:
            yield _bare_diff(lines, hunks[0])


def _bare_diff(lines: list[str], first: int) -> list[str]:
    """The lines of a diff without a fence: from its first hunk until prose begins again."""
    kept = []
    for line in lines[first:]:
        if line and line[0] not in " +-@\\\t" and not _FILE.match(line):
            break
        kept.append(line)
    return kept


def _hunks(lines: list[str]) -> Iterator[Edit]:
    old: list[str] = []
    new: list[str] = []
    at = 0
    for line in [*_trimmed(lines), "@@"]:
        hunk = _HUNK.match(line)
        if hunk is not None or _FILE.match(line):
            if old != new:
                if not any(text.strip() for text in old):
                    raise MalformedEditError(
                        "A hunk of the diff has no line that says where it belongs: give it lines "
                        "of the program before and after the change."
                    )
                yield Edit(*_unnumbered(_text(old), _text(new)), at)
            old, new = [], []
            at = int(hunk["line"] or 0) if hunk else 0
        elif line.startswith("\\"):
            continue  # "\ No newline at end of file"
        elif line.startswith("-"):
            old.append(line[1:])
        elif line.startswith("+"):
            new.append(line[1:])
        elif not line.strip() or line.startswith((" ", "\t")):
            kept = line[1:] if line.startswith(" ") else line
            old.append(kept)
            new.append(kept)
        else:
            raise MalformedEditError(
                f"A line of the diff begins with neither a space nor + nor -: {line[:80]!r}. "
                "Answer with SEARCH/REPLACE edits."
            )


def _trimmed(lines: list[str]) -> list[str]:
    """Without empty lines at the end, which belong to no hunk."""
    kept = list(lines)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept
