"""Program texts: whether a piece of a reply is one, once what copying added is taken away."""

import ast
import builtins
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agents.reading.characters import mended, without_entities
from evocodec.codec.program import Program
from evocodec.codec.syntax import UNPARSABLE

FORMS = (frozenset({"encode", "decode"}),
         frozenset({"compress_video_frame", "decompress_video_frame"}))  # fmt: skip
_NUMBERED = re.compile(r"^[ \t]*(\d{1,6})(?:[ \t]*[:|│→]|[ \t])?(.*)$")
_ELIDED = re.compile(
    r"^[ \t]*(?:#[ \t]*)?(?:\.{3}|…)[^\n]*$"
    r"|^[ \t]*#[^\n]*\b(?:rest|remainder|remaining|other|existing|previous)\b[^\n]*"
    r"\b(?:unchanged|as before|as above|as is|the same|go(?:es)? here|code here|omitted)\b[^\n]*$"
    r"|^[ \t]*#[ \t]*(?:unchanged|omitted|same as (?:before|above|original)|as before)\b[^\n]*$",
    re.MULTILINE | re.IGNORECASE,
)
_BUILTINS = frozenset(dir(builtins)) | {"__file__", "__name__", "__doc__"}


@dataclass(frozen=True, slots=True)
class ProgramText:
    """A text that is a whole program, and what was mended to read it."""

    program: Program
    mended: tuple[str, ...] = ()


def whole_program(text: str) -> ProgramText | None:
    """Read a text as a whole program, after the mendings that are safe; None if it is none.

    Raises AmbiguousTextError where two programs can be read from it.
    """
    plain = without_entities(text, lambda code: is_whole(closed(code)))
    notes: tuple[str, ...] = ("HTML entities resolved",) if plain is not None else ()
    for body, how in _readings(plain if plain is not None else text):
        program = closed(body)
        if is_whole(program):
            return ProgramText(program, notes + how)
    return None


def _readings(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The text as it is, then with what was put before its lines or into them taken away."""
    yield text, ()
    peeled = text
    how: tuple[str, ...] = ()
    for peel, name in _PEELS:
        found = peel(peeled)
        if found is not None:
            peeled, how = found, (*how, name)
            yield peeled, how
    repaired = mended(peeled)
    if repaired is not None and repaired != peeled:
        yield repaired, (*how, "odd characters mended")


def without_margin(text: str) -> str | None:
    """Undo the indentation of a whole text, as in a list."""
    plain = textwrap.dedent(text)
    return plain if plain != text else None


def without_quoting(text: str) -> str | None:
    """Undo ``> `` before every line, as in a quoted message."""
    lines = text.strip("\n").split("\n")
    if len(lines) < 3 or not all(line.startswith(">") for line in lines):
        return None
    return "\n".join(line[1:].removeprefix(" ") for line in lines)


def without_pluses(text: str) -> str | None:
    """Undo ``+`` before every line: a new file as a diff shows it."""
    lines = text.strip("\n").split("\n")
    lines = [line for line in lines if not line.startswith(("+++ ", "--- ", "@@ ", "diff ", "\\"))]
    if len(lines) < 3 or not all(line.startswith("+") for line in lines):
        return None
    return "\n".join(line[1:] for line in lines)


def without_numbers(text: str) -> str | None:
    """Undo line numbers that count up by one, with or without a sign behind them."""
    lines = text.strip("\n").split("\n")
    found = [_NUMBERED.match(line) for line in lines]
    if len(lines) < 2 or not all(found):
        return None
    matches = [match for match in found if match]
    numbers = [int(match[1]) for match in matches]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return None
    rests = [match[2] for match in matches]
    filled = [rest for rest in rests if rest.strip()]
    margin = min((len(rest) - len(rest.lstrip(" \t")) for rest in filled), default=0)
    return "\n".join(rest[margin:] if rest.strip() else "" for rest in rests)


_PEELS: tuple[tuple[Callable[[str], str | None], str], ...] = (
    (without_quoting, "quote marks removed"),
    (without_margin, "indentation removed"),
    (without_pluses, "plus signs of a diff removed"),
    (without_numbers, "line numbers removed"),
)


def closed(text: str) -> Program:
    """A program of this text with one line end at its end."""
    return Program(text.strip("\n") + "\n")


def defined(program: Program) -> dict[str, ast.stmt] | None:
    """Top-level functions by name, or None when it does not parse."""
    try:
        tree = program.tree
    except UNPARSABLE:
        return None
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def is_whole(program: Program) -> bool:
    """Whether it parses and has the two functions of a form, with something in them."""
    functions = defined(program)
    if functions is None:
        return False
    return any(
        form <= functions.keys() and not any(is_stub(functions[name]) for name in form)
        for form in FORMS
    )


def is_elided(program: Program, base: str) -> bool:
    """Whether parts are left out, with a remark in their place that ``base`` has not."""
    known = {line.strip() for line in base.split("\n")}
    return any(match[0].strip() not in known for match in _ELIDED.finditer(program.text))


def unknown_names(program: Program) -> frozenset[str]:
    """Names that functions use and nothing defines: what follows them may have been cut off."""
    tree = program.tree
    known: set[str] = set(_BUILTINS)
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else known).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.alias):
            known.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            known.add(node.name)
    return frozenset(used - known)


def is_stub(statement: ast.stmt) -> bool:
    """Whether this is a function without a body: a signature that is only shown."""
    if not isinstance(statement, ast.FunctionDef):
        return False
    body = statement.body
    if ast.get_docstring(statement, clean=False) is not None:
        body = body[1:]
    return all(
        isinstance(node, ast.Pass)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in body
    )
