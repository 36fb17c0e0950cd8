"""Fenced blocks of a reply: which of them is a whole program, and where it ends."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agents.reading.candidates import ProgramText, whole_program
from agents.reading.characters import visible

_FENCE = re.compile(r"^(?P<margin>[ \t>]*)(?P<fence>`{3,}|~{3,}|'{3}(?=py|\s*$)|\"{3}(?=py|\s*$))"
                    r"(?P<info>.*)$")  # fmt: skip
_MOST_FENCES = 400
_MOST_TRIES = 120


@dataclass(frozen=True, slots=True)
class Fence:
    """A line that opens or closes a block; ``line`` is its number from 0."""

    line: int
    mark: str
    margin: str
    info: str

    def closes(self, opening: "Fence") -> bool:
        """Whether this line can close a block; text may follow it."""
        if opening.is_diff and self.margin != opening.margin:
            return False  # a line of the file that the diff shows
        return self.mark[0] == opening.mark[0] and len(self.mark) >= len(opening.mark)

    @property
    def opens(self) -> bool:
        """Whether the line can open a block; three quotes do so only with a name."""
        return self.mark[0] in "`~" or not self.is_bare

    @property
    def is_diff(self) -> bool:
        """Whether the block says that it is a diff."""
        return self.info.strip().lower().split(" ")[0] in {"diff", "patch", "udiff"}

    @property
    def is_bare(self) -> bool:
        """Whether nothing follows the fence."""
        return not self.info.strip()


@dataclass(frozen=True, slots=True)
class Block:
    """A block from line ``first`` (of its fence) to line ``last``; ``closed`` by a fence or not."""

    first: int
    last: int
    body: str
    info: str
    closed: bool
    whole: ProgramText | None = None


def tidy_lines(text: str) -> str:
    """Take invisible characters out of lines that open or close a block or an edit."""
    if text.isascii():
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not line.isascii():
            plain = visible(line)
            if _FENCE.match(plain) or re.match(r"\s*(?:<{5}|={5}|>{5})", plain):
                lines[number] = plain
    return "\n".join(lines).removeprefix("\ufeff")


def blocks_of(text: str) -> list[Block]:
    """The blocks in order; one that is a whole program reaches to the fence that makes it one.

    A fence in the docstring of a program closes nothing: up to there it does not parse.
    """
    lines = text.split("\n")
    fences = list(_fences(lines))[:_MOST_FENCES]
    found: list[Block] = []
    at, tries = 0, 0
    while at < len(fences):
        opening = fences[at]
        if not opening.opens:
            at += 1
            continue
        closings = [(index, fence) for index, fence in enumerate(fences[at + 1 :], at + 1)
                    if fence.closes(opening)]  # fmt: skip
        block, following = None, at
        for index, fence in closings:
            body = _body(lines, opening, fence.line)
            if "def " not in body:
                continue
            if tries >= _MOST_TRIES:
                break
            tries += 1
            whole = whole_program(body)
            if whole is not None:
                block = Block(opening.line, fence.line, body, opening.info, True, whole)
                following = index + 1
                break
        if block is None:
            block, following = _plain(lines, fences, at, closings)
        found.append(block)
        at = following
    return found


def outside(text: str, blocks: Sequence[Block]) -> str:
    """The text without these blocks; as many empty lines stand for them."""
    return without_lines(text, [(block.first, block.last) for block in blocks])


def without_lines(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text with the lines of each span empty, from its first to its last."""
    lines = text.split("\n")
    for first, last in spans:
        for number in range(first, min(last + 1, len(lines))):
            lines[number] = ""
    return "\n".join(lines)


def _plain(
    lines: list[str], fences: list[Fence], at: int, closings: list[tuple[int, Fence]]
) -> tuple[Block, int]:
    """A block that is no whole program: up to the first bare fence, or to the end."""
    opening = fences[at]
    for index, fence in closings:
        if fence.is_bare:
            inner = [f for f in fences[at + 1 : index] if f.closes(opening)]
            # A fence with a name inside: what was taken for the opening may have been a closing.
            if inner:
                return _upto(lines, opening, inner[0].line), at + 1 + fences[at + 1 :].index(
                    inner[0]
                )
            return _upto(lines, opening, fence.line, closed=True), index + 1
    if closings:
        index, fence = closings[0]
        return _upto(lines, opening, fence.line), index
    body = _body(lines, opening, len(lines))
    whole = whole_program(body)
    following = at + 1 if whole is None else len(fences)
    last = len(lines) - 1
    return Block(opening.line, last, body, opening.info, False, whole), following


def _upto(lines: list[str], opening: Fence, line: int, *, closed: bool = False) -> Block:
    last = line if closed else line - 1
    return Block(opening.line, last, _body(lines, opening, line), opening.info, closed)


def _fences(lines: list[str]) -> Iterator[Fence]:
    for number, line in enumerate(lines):
        match = _FENCE.match(line)
        if match is not None:
            yield Fence(number, match["fence"], match["margin"], match["info"])


def _body(lines: list[str], opening: Fence, end: int) -> str:
    """The lines of a block without the margin of its fence."""
    body, margin = lines[opening.line + 1 : end], opening.margin
    if margin and all(line.startswith(margin) or not line.strip() for line in body):
        body = [line[len(margin) :] for line in body]
    return "\n".join(body)
