"""Placing of edits: finds the lines that an edit means, and leaves them where that is unsure."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from agents.reading.characters import visible
from agents.reading.edits import Edit

_SHOWN_AROUND = 2


@dataclass(frozen=True, slots=True)
class Misfit:
    """An edit that was not applied: its number from 1, why, and the nearest lines there are."""

    number: int
    edit: Edit
    why: str
    nearest: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """A text after the edits that fit; ``present`` counts those that were there before."""

    text: str
    fitted: tuple[int, ...]
    misfits: tuple[Misfit, ...] = ()
    present: int = 0
    drifted: int = 0


@dataclass(frozen=True, slots=True)
class _Place:
    """Lines ``first`` to ``last`` (not included), and what to put before each new line."""

    first: int
    last: int
    shift: int = 0


def apply_edits(text: str, edits: Sequence[Edit]) -> Applied:
    """Apply edits one after the other; each has to fit at exactly one place."""
    fitted: list[int] = []
    misfits: list[Misfit] = []
    done: set[tuple[str, str]] = set()
    present = drifted = 0
    for number, edit in enumerate(edits, start=1):
        lines = text.split("\n")
        places, exact = _places(lines, edit)
        if not edit.old.strip():
            misfits.append(Misfit(number, edit, "its SEARCH text is empty"))
        elif len(places) == 1:
            text = _replaced(lines, places[0], edit, exact=exact)
            fitted.append(number)
            done.add((edit.old, edit.new))
            drifted += not exact
        elif not places and ((edit.old, edit.new) in done or _is_present(lines, edit)):
            present += 1
            fitted.append(number)
        else:
            why = f"occurs {len(places)} times" if places else "was not found"
            nearest = "" if places else nearest_lines(lines, edit.old)
            misfits.append(
                Misfit(
                    number,
                    edit,
                    f"its SEARCH text {why} in the program; copy whole lines exactly, enough of "
                    "them to be unique",
                    nearest,
                )
            )
    return Applied(text, tuple(fitted), tuple(misfits), present, drifted)


def nearest_lines(lines: Sequence[str], old: str) -> str:
    """Lines of the program that are most like the ones that were looked for; empty for none."""
    wanted = [line.strip() for line in old.split("\n") if line.strip()]
    if not wanted:
        return ""
    where: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        where.setdefault(line.strip(), []).append(number)
    votes: Counter[int] = Counter()
    for offset, line in enumerate(wanted):
        for number in where.get(line, ())[:20]:
            votes[number - offset] += 1
    if votes:
        first = max(0, votes.most_common(1)[0][0])
    else:
        longest = max(wanted, key=len)[:200]
        near = difflib.get_close_matches(longest, [key[:200] for key in where if key], 1, 0.5)
        if not near:
            return ""
        first = next(n for n, line in enumerate(lines) if line.strip()[:200] == near[0])
        first = max(0, first - wanted.index(max(wanted, key=len)))
    last = min(len(lines), first + len(wanted) + 2 * _SHOWN_AROUND)
    return "\n".join(lines[max(0, first - _SHOWN_AROUND) : last])


def _places(lines: list[str], edit: Edit) -> tuple[list[_Place], bool]:
    """Where the old lines are: as they stand, or else with other white space and comments."""
    wanted = [line.rstrip() for line in edit.old.removesuffix("\n").split("\n")]
    bare = [line.rstrip() for line in lines]
    exact = [
        _Place(place, place + len(wanted))
        for place in range(len(bare) - len(wanted) + 1)
        if bare[place] == wanted[0] and bare[place : place + len(wanted)] == wanted
    ]
    if len(exact) > 1 and edit.line:
        exact = [place for place in exact if place.first + 1 == edit.line] or exact
    if exact:
        return exact, True
    return _drifted_places(lines, wanted, quoted=_is_quoted(edit)), False


def _is_quoted(edit: Edit) -> bool:
    """Whether the new lines have a text of several lines in them."""
    return '"""' in edit.new or "'''" in edit.new


def _drifted_places(lines: list[str], wanted: list[str], *, quoted: bool) -> list[_Place]:
    """Places that differ in blank lines, spaces within lines, remarks, and a common margin.

    ``quoted``: the new lines have a text of several lines in them, which must not be moved.
    """
    looked_for = [(_key(line), _indent(line)) for line in wanted if line.strip()]
    if not any(key and key != "#" for key, _ in looked_for):
        return []
    filled = [number for number, line in enumerate(lines) if line.strip()]
    keys = [_key(lines[number]) for number in filled]
    found = []
    for at in range(len(filled) - len(looked_for) + 1):
        if keys[at] != looked_for[0][0]:
            continue
        numbers = filled[at : at + len(looked_for)]
        if keys[at : at + len(looked_for)] != [key for key, _ in looked_for]:
            continue
        shifts = {
            _indent(lines[number]) - indent
            for number, (_, indent) in zip(numbers, looked_for, strict=True)
        }
        if len(shifts) == 1 and (shifts == {0} or not quoted):
            found.append(_Place(numbers[0], numbers[-1] + 1, shifts.pop()))
    return found


def _key(line: str) -> str:
    """What a line says, whatever its spaces and its remark; marks of constants are kept."""
    plain = visible(line).strip()
    plain = re.sub("[“”„]", '"', re.sub("[‘’‚]", "'", plain))
    if plain.startswith("#"):
        return "#" if "evolve:" not in plain else " ".join(plain.split())
    if not re.search(r"[\"']", plain):
        if "evolve:" not in plain:
            plain = plain.split("#", 1)[0]
        return " ".join(re.findall(r"\w+|[^\w\s]", plain))
    return plain


def _indent(line: str) -> int:
    plain = visible(line).expandtabs(4)
    return len(plain) - len(plain.lstrip(" "))


def _replaced(lines: list[str], place: _Place, edit: Edit, *, exact: bool) -> str:
    new = edit.new.removesuffix("\n").split("\n") if edit.new else []
    if not exact:
        new = _without_blank_ends(new)
        if not _is_quoted(edit):
            new = [_shifted(line, place.shift) for line in new]
    return "\n".join([*lines[: place.first], *new, *lines[place.last :]])


def _shifted(line: str, shift: int) -> str:
    """The line with another margin, which is made of plain spaces."""
    body = line.lstrip()
    return " " * max(0, _indent(line) + shift) + body if body else ""


def _without_blank_ends(lines: list[str]) -> list[str]:
    kept = list(lines)
    while kept and not kept[0].strip():
        kept.pop(0)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def _is_present(lines: list[str], edit: Edit) -> bool:
    """Whether the new lines stand where the old ones would: a line of both is their anchor."""
    new = [line.rstrip() for line in edit.new.removesuffix("\n").split("\n")]
    bare = [line.rstrip() for line in lines]
    places = [
        place
        for place in range(len(bare) - len(new) + 1)
        if bare[place] == new[0] and bare[place : place + len(new)] == new
    ]
    if len(places) != 1 or len([line for line in new if line.strip()]) < 2:
        return False
    old = {line.rstrip() for line in edit.old.split("\n") if line.strip()}
    return any(line in old and bare.count(line) == 1 for line in new)
