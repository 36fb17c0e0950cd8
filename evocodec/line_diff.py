"""Unified differences of two texts by lines, with work that is bounded for every text.

``difflib`` alone takes time that grows with the third power of the number of lines where many lines
are alike: 64 KiB of numbered comments take minutes, and anybody may write them into a program. Here
lines that occur once in both texts are matched first (patience diff, Bram Cohen), and ``difflib``
compares what lies between them for as long as its worst case stays within a budget. Every result is
a right difference; beyond the budget it is not the shortest one.
"""

import difflib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

MOST_STEPS: Final = 5_000_000
"""Comparisons that ``difflib`` may make in its worst case, over one difference."""
_MOST_DEPTH: Final = 16  # of gaps between lines that are unique within a gap


class _Block(NamedTuple):
    """``size`` equal lines, from line ``a`` of the first text and line ``b`` of the second."""

    a: int
    b: int
    size: int


class _Gap(NamedTuple):
    """What lies between two blocks: half-open ranges of lines of both texts."""

    a: int
    a_end: int
    b: int
    b_end: int


def unified_diff(
    before: str, after: str, *, from_label: str, to_label: str, context_lines: int = 3
) -> list[str]:
    """Return the difference in the unified format, without line ends; empty for equal lines."""
    a, b = before.splitlines(), after.splitlines()
    groups = list(_grouped(_LineMatcher(a, b).blocks(), len(a), len(b), context_lines))
    if not groups:
        return []
    lines = [f"--- {from_label}", f"+++ {to_label}"]
    for group in groups:
        first, last = group[0], group[-1]
        a_range = _range(first[1], last[2])
        lines.append(f"@@ -{a_range} +{_range(first[3], last[4])} @@")
        for equal, a_from, a_to, b_from, b_to in group:
            if equal:
                lines += [f" {line}" for line in a[a_from:a_to]]
            else:
                lines += [f"-{line}" for line in a[a_from:a_to]]
                lines += [f"+{line}" for line in b[b_from:b_to]]
    return lines


class _LineMatcher:
    """Finds equal lines in the same order in two lists."""

    def __init__(self, a: Sequence[str], b: Sequence[str]) -> None:
        self._a, self._b = a, b
        self._steps_left = MOST_STEPS

    def blocks(self) -> list[_Block]:
        """Return all blocks in order."""
        found: list[_Block] = []
        waiting = [(_Gap(0, len(self._a), 0, len(self._b)), 0)]
        while waiting:
            gap, depth = waiting.pop()
            gap = self._trimmed(gap, found)
            anchors = self._anchors(gap) if depth < _MOST_DEPTH else []
            if anchors:
                found += anchors
                edges = [_Block(gap.a, gap.b, 0), *anchors, _Block(gap.a_end, gap.b_end, 0)]
                waiting += [
                    (_Gap(one.a + one.size, two.a, one.b + one.size, two.b), depth + 1)
                    for one, two in pairwise(edges)
                ]
            else:
                found += self._compared(gap)
        return sorted(found)

    def _trimmed(self, gap: _Gap, found: list[_Block]) -> _Gap:
        """Take equal lines off both ends."""
        a, a_end, b, b_end = gap
        while a < a_end and b < b_end and self._a[a] == self._b[b]:
            a, b = a + 1, b + 1
        while a < a_end and b < b_end and self._a[a_end - 1] == self._b[b_end - 1]:
            a_end, b_end = a_end - 1, b_end - 1
        found.append(_Block(gap.a, gap.b, a - gap.a))
        found.append(_Block(a_end, b_end, gap.a_end - a_end))
        return _Gap(a, a_end, b, b_end)

    def _anchors(self, gap: _Gap) -> list[_Block]:
        """Lines that are unique in both ranges: the longest sequence that has one order in both."""
        in_a = Counter(self._a[gap.a : gap.a_end])
        in_b = Counter(self._b[gap.b : gap.b_end])
        place = {self._b[j]: j for j in range(gap.b, gap.b_end) if in_b[self._b[j]] == 1}
        pairs = [
            (i, place[line])
            for i, line in enumerate(self._a[gap.a : gap.a_end], gap.a)
            if in_a[line] == 1 and line in place
        ]
        tops: list[int] = []  # the smallest end of a sequence of each length, and its pair
        ends: list[int] = []
        before = [-1] * len(pairs)
        for index, (_, j) in enumerate(pairs):
            length = bisect_left(tops, j)
            before[index] = ends[length - 1] if length else -1
            tops[length : length + 1] = [j]
            ends[length : length + 1] = [index]
        chain: list[_Block] = []
        index = ends[-1] if ends else -1
        while index >= 0:
            chain.append(_Block(*pairs[index], 1))
            index = before[index]
        return chain[::-1]

    def _compared(self, gap: _Gap) -> Iterator[_Block]:
        """What ``difflib`` finds, where even its worst case is cheap enough."""
        a, b = self._a[gap.a : gap.a_end], self._b[gap.b : gap.b_end]
        in_a, in_b = Counter(a), Counter(b)
        common = [line for line in in_a if line in in_b]
        alike = sum(in_a[line] * in_b[line] for line in common)
        matched = sum(min(in_a[line], in_b[line]) for line in common)
        # It looks for the longest match once for each, and then on both sides of it.
        steps = (len(a) + alike) * (2 * matched + 1)
        if not matched or steps > self._steps_left:
            return
        self._steps_left -= steps
        for i, j, size in difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks():
            yield _Block(gap.a + i, gap.b + j, size)


_Run = tuple[bool, int, int, int, int]  # equal; lines of the first text, of the second


def _runs(blocks: Sequence[_Block], a_lines: int, b_lines: int) -> Iterator[_Run]:
    """Yield equal and changed lines in turn; neighbouring blocks become one."""
    a = b = a_equal = b_equal = 0
    for block in [*blocks, _Block(a_lines, b_lines, 0)]:
        if (block.a, block.b) != (a, b):
            if a > a_equal:
                yield True, a_equal, a, b_equal, b
            yield False, a, block.a, b, block.b
            a_equal, b_equal = block.a, block.b
        a, b = block.a + block.size, block.b + block.size
    if a > a_equal:
        yield True, a_equal, a, b_equal, b


def _grouped(
    blocks: Sequence[_Block], a_lines: int, b_lines: int, context: int
) -> Iterator[list[_Run]]:
    """Yield changes that lie near one another, with the equal lines around them."""
    group: list[_Run] = []
    for run in _runs(blocks, a_lines, b_lines):
        equal, a, a_end, b, b_end = run
        if not equal:
            group.append(run)
            continue
        is_end = a_end == a_lines and b_end == b_lines
        if group and (a_end - a > 2 * context or is_end):
            end = min(a_end, a + context)
            yield [*group, (True, a, end, b, b + end - a)]
            group = []
        kept = a_end - a if group else min(a_end - a, context)
        group.append((True, a_end - kept, a_end, b_end - kept, b_end))
    if any(not run[0] for run in group):
        yield group


def _range(start: int, end: int) -> str:
    """A range of lines as the format writes it: from one; one line has no length."""
    length = end - start
    if length == 1:
        return f"{start + 1}"
    return f"{start + 1 if length else start},{length}"
