"""Tunables of a program: the constants that a mutation may change, found and edited in the text.

A tunable is a module-level assignment of one line with a trailing comment::

    SUBPEL = 2  # evolve: choice 2 | 4 -- fractions of a sample
    LAMBDA = 0.33  # evolve: float 0.10..0.50
    LAYERS = 3  # evolve: int 1..5

Choices are Python literals or names. An edit of a tunable replaces its expression and not one other
byte of the program.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from evocodec.codec.syntax import parse_literal
from evocodec.domain.errors import UserError

_MARK = "evolve:"
_COMMENT = re.compile(r"#\s*evolve:\s*(?P<body>.*)$")
# Possessive: a text of digits that is no number is given up at once, and not tried in every split.
_NUMBER = r"[+-]?(?:\d++(?:\.(?!\.(?!\.))\d*+)?|\.\d++)(?:[eE][+-]?\d++)?"
_RANGE = re.compile(rf"(?P<low>{_NUMBER})\s*\.\.\s*(?P<high>{_NUMBER})")
_LINE_END = re.compile(rb"(\r\n|\r|\n)")
_OPENING, _CLOSING = "([{", ")]}"


class TunableError(UserError):
    """A tunable is malformed, or an edit does not fit the tunables of a program."""


@dataclass(frozen=True, slots=True)
class Tunable:
    """One tunable constant; ``value`` is its expression in the program text.

    ``choices`` is filled for ``choice``, ``low`` and ``high`` for the numeric kinds.
    ``line`` is 1-based; ``start`` and ``end`` are byte offsets of the expression into its UTF-8
    line.
    """

    name: str
    kind: Literal["choice", "float", "int"]
    value: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    description: str = ""
    line: int = 0
    start: int = 0
    end: int = 0

    def accepts(self, expression: str) -> bool:
        """Whether the expression is one of the allowed values."""
        if self.kind == "choice":
            return canonical(expression) in {canonical(choice) for choice in self.choices}
        number = _number(expression, self.kind)
        return number is not None and self.low <= number <= self.high

    def spelling(self, expression: str) -> str:
        """The expression as it is written into the program: a choice in its own spelling."""
        if self.kind != "choice":
            return expression.strip()
        same = canonical(expression)
        return next(choice for choice in self.choices if canonical(choice) == same)

    def allowed(self) -> str:
        """The allowed values as text, for messages and prompts."""
        if self.kind == "choice":
            return " | ".join(self.choices)
        return f"{self.kind} {self.low:g}..{self.high:g}"


def find_tunables(text: str, tree: ast.Module) -> tuple[Tunable, ...]:
    """Every tunable of a program, in its order; ``tree`` is its syntax tree.

    Raises TunableError, naming the line, for a tunable that is malformed.
    """
    return tuple(_find(text, tree))


def apply_edits(text: str, tunables: Sequence[Tunable], edits: Sequence[tuple[str, str]]) -> str:
    """Replace the expressions of a program's tunables; every other byte stays.

    Raises TunableError for an unknown name, a value that is not allowed, and a name that
    is edited twice.
    """
    wanted = dict(edits)
    if len(wanted) != len(edits):
        raise TunableError(f"a tunable is edited twice: {', '.join(name for name, _ in edits)}")
    known = {tunable.name: tunable for tunable in tunables}
    pieces = _LINE_END.split(text.encode())  # lines at even places, their ends at odd ones
    for name, expression in edits:
        tunable = known.get(name)
        if tunable is None:
            names = ", ".join(known) or "none"
            raise TunableError(
                f"the program has no tunable named {name}; its tunables are: {names}"
            )
        if not tunable.accepts(expression):
            raise TunableError(
                f"{name} = {expression} is not allowed; allowed: {tunable.allowed()}"
            )
        place = 2 * (tunable.line - 1)
        line = pieces[place]
        new = tunable.spelling(expression).encode()
        pieces[place] = line[: tunable.start] + new + line[tunable.end :]
    return b"".join(pieces).decode()


@lru_cache(maxsize=4096)  # the same few values are read for every candidate
def canonical(expression: str) -> str:
    """One spelling for equal literals (``"a"`` and ``'a'``); others are only stripped."""
    text = expression.strip()
    try:
        return repr(parse_literal(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _find(text: str, tree: ast.Module) -> Iterator[Tunable]:
    if _MARK not in text:
        return
    assignments = dict(_assignments(tree))
    lines = _LINE_END.split(text.encode())[::2]
    comments = _comments_after(assignments, lines)
    if comments is None:
        try:
            comments = dict(_comments(text))
        except (SyntaxError, ValueError, tokenize.TokenError) as error:
            message = f"the program does not parse, so it has no tunables: {error}"
            raise TunableError(message) from error
    seen: set[str] = set()
    for line, body in sorted(comments.items()):
        found = assignments.get(line)
        if found is None:
            raise TunableError(
                f"line {line}: an 'evolve:' comment must follow a module-level assignment "
                f"of one name that stands on one line"
            )
        name, node = found
        if name in seen:
            raise TunableError(f"line {line}: {name} is marked twice")
        seen.add(name)
        start, end = node.col_offset, node.end_col_offset or 0
        expression = lines[line - 1][start:end].decode()
        yield replace(_parse(name, expression, body, line), start=start, end=end)


def _comments_after(
    assignments: Mapping[int, tuple[str, ast.expr]], lines: Sequence[bytes]
) -> dict[int, str] | None:
    """The tunable comments by line, without reading tokens, which takes a third of the analysis.

    None where a line looks like a tunable and is not just an assignment and its comment: then only
    the tokens show whether it is part of a string.
    """
    comments: dict[int, str] = {}
    for number, line in enumerate(lines, start=1):
        if _MARK.encode() not in line or not _COMMENT.search(line.decode()):
            continue
        found = assignments.get(number)
        rest = b"" if found is None else line[found[1].end_col_offset :]
        match = _COMMENT.match(rest.decode().lstrip(" \t"))
        if match is None:
            return None
        comments[number] = match["body"]
    return comments


def _comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text, newline=None).readline):
        if token.type == tokenize.COMMENT and (match := _COMMENT.match(token.string)):
            yield token.start[0], match["body"]


def _assignments(tree: ast.Module) -> Iterator[tuple[int, tuple[str, ast.expr]]]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        else:
            continue
        if isinstance(target, ast.Name) and statement.lineno == statement.end_lineno:
            yield statement.lineno, (target.id, value)


def _parse(name: str, value: str, body: str, line: int) -> Tunable:
    specification, _, description = (part.strip() for part in _partition(body, " -- "))
    kind, _, rest = specification.partition(" ")
    if kind == "choice":
        choices = tuple(_split(rest, "|"))
        tunable = Tunable(name, "choice", value, choices, description=description, line=line)
        if len(choices) < 2 or not all(map(_is_simple, choices)):
            raise TunableError(
                f"line {line}: 'choice' needs two or more literals or names, divided by |"
            )
    elif kind in ("float", "int"):
        bounds = _RANGE.fullmatch(rest.strip())
        if bounds is None:
            raise TunableError(f"line {line}: '{kind}' needs a range such as 0.1..0.5 or 1..8")
        low, high = float(bounds["low"]), float(bounds["high"])
        if not low < high:
            raise TunableError(f"line {line}: the range {rest.strip()} is empty")
        tunable = Tunable(
            name,
            "float" if kind == "float" else "int",
            value,
            low=low,
            high=high,
            description=description,
            line=line,
        )
    else:
        raise TunableError(
            f"line {line}: unknown kind '{kind}' of tunable; known: choice, float, int"
        )
    if not tunable.accepts(value):
        raise TunableError(
            f"line {line}: {name} = {value} is outside its range: {tunable.allowed()}"
        )
    return tunable


def _partition(text: str, separator: str) -> tuple[str, str, str]:
    """Like str.partition, but blind to quotes and brackets."""
    for position in _plain_positions(text):
        if text.startswith(separator, position):
            return text[:position], separator, text[position + len(separator) :]
    return text, "", ""


def _split(text: str, separator: str) -> Iterable[str]:
    cuts = [position for position in _plain_positions(text) if text[position] == separator]
    starts = [0, *(cut + 1 for cut in cuts)]
    return (text[a:b].strip() for a, b in zip(starts, [*cuts, len(text)], strict=True))


def _plain_positions(text: str) -> Iterator[int]:
    """Positions outside quotes and brackets."""
    quote, depth, escaped = "", 0, False
    for position, character in enumerate(text):
        if quote:
            if character == quote and not escaped:
                quote = ""
            escaped = character == "\\" and not escaped
        elif character in "\"'":
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth = max(0, depth - 1)
        elif depth == 0:
            yield position


def _is_simple(expression: str) -> bool:
    if expression.isidentifier():
        return True
    try:
        parse_literal(expression)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True


def _number(expression: str, kind: str) -> float | None:
    text = expression.strip()
    pattern = r"[+-]?\d+" if kind == "int" else _NUMBER
    return float(text) if re.fullmatch(pattern, text, re.ASCII) else None
