"""Program extraction from a chat reply: code blocks, edits, or plain text."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from agents.opinions import without_thinking
from evocodec.codec.program import Program
from evocodec.codec.syntax import UNPARSABLE
from evocodec.domain.errors import CandidateFailure, FailureKind

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+.-]*)[^\n]*\n", re.MULTILINE)
_EDIT = re.compile(
    r"^<{5,9} ?SEARCH[^\n]*\n(?P<old>.*?)^={5,9}[ \t]*\n(?P<new>.*?)^>{5,9} ?REPLACE",
    re.MULTILINE | re.DOTALL,
)
_EDIT_START = re.compile(r"^<{5,9} ?SEARCH", re.MULTILINE)
_CODE_START = re.compile(
    r"^(?:from\s+\w|import\s+\w|def\s+\w|class\s+\w|@\w|\"\"\"|#)", re.MULTILINE
)
_REFUSAL = re.compile(
    r"\b(?:I(?:'m| am) (?:sorry|unable|not able)|I (?:can(?:no|')t|won't|must decline)|"
    r"as an AI|cannot (?:help|assist|comply))\b",
    re.IGNORECASE,
)
_FORMS = (frozenset({"encode", "decode"}),
          frozenset({"compress_video_frame", "decompress_video_frame"}))  # fmt: skip
_MAX_BLOCKS = 24
_MAX_TRIMS = 60


@dataclass(frozen=True, slots=True)
class Extracted:
    """A program that parses and has one of the two forms, and how it was found."""

    program: Program
    how: str


def extract_program(reply: str, base: str) -> Extracted:
    """Find the program in a reply; ``base`` is the program that edit blocks refer to.

    Raises CandidateFailure (NO_CODE) that says what is wrong: empty, refusal, prose, code that
    does not parse, a function that is missing, or an edit that does not fit.
    """
    text = without_thinking(reply).replace("\r\n", "\n").strip("\n")
    if not text.strip():
        raise CandidateFailure(FailureKind.NO_CODE, "The reply was empty.")
    if _EDIT_START.search(text):
        return _edited(text, base)
    blocks = [body for body in _blocks(text) if body.strip()][:_MAX_BLOCKS]
    if not blocks:
        return _unfenced(text)
    whole = [program for program in map(_closed, blocks) if _is_program(program)]
    if whole:
        return Extracted(max(whole, key=lambda program: len(program.text)), "the whole file")
    joined = _joined(blocks)
    if joined is not None:
        return Extracted(joined, f"the whole file, put together from {len(blocks)} blocks")
    raise _explain(max(blocks, key=len))


def looks_like_refusal(reply: str) -> bool:
    """Whether a reply without a program declines the work."""
    return _REFUSAL.search(without_thinking(reply)[:600]) is not None


def _blocks(text: str) -> Iterator[str]:
    """Bodies of fenced blocks; a fence that is never closed runs to the end."""
    position = 0
    while (opening := _FENCE.search(text, position)) is not None:
        fence = opening[1]
        closing = re.compile(rf"^[ \t]*{re.escape(fence)}{fence[0]}*[ \t]*$", re.MULTILINE)
        end = closing.search(text, opening.end())
        yield _dedented(text[opening.end() : end.start() if end else len(text)])
        position = end.end() if end else len(text)


def _dedented(body: str) -> str:
    """Undo the indentation of a block inside a list; code lines keep their relative indents."""
    first = re.match(r"[ \t]*", body)
    margin = first[0] if first else ""
    if margin and all(line.startswith(margin) or not line.strip() for line in body.splitlines()):
        return "\n".join(line[len(margin) :] for line in body.splitlines())
    return body


def _joined(blocks: list[str]) -> Program | None:
    """Join the blocks that parse into one program: all in order, or two of them."""
    parts = [block for block in blocks if _defined(Program(block)) is not None]
    if len(parts) < 2:
        return None
    tries = ["\n\n".join(parts), *("\n\n".join(pair) for pair in combinations(parts[:8], 2))]
    return next((program for program in map(_closed, tries) if _is_program(program)), None)


def _unfenced(text: str) -> Extracted:
    """Code without a fence: try the text, then drop prose before and after."""
    whole = _closed(text)
    if _is_program(whole):
        return Extracted(whole, "the whole reply")
    for start in [match.start() for match in _CODE_START.finditer(text)][:8]:
        lines = text[start:].split("\n")
        for _ in range(_MAX_TRIMS):
            program = _closed("\n".join(lines))
            if _is_program(program):
                return Extracted(program, "code without a fence, prose dropped")
            if not lines:
                break
            lines.pop()
    if re.search(r"^\s*def\s+\w+\s*\(", text, re.MULTILINE):
        raise _explain(text)
    if looks_like_refusal(text):
        raise CandidateFailure(
            FailureKind.NO_CODE, "The model declined to write a program.", detail=text[:2000]
        )
    raise CandidateFailure(
        FailureKind.NO_CODE,
        "The reply holds no program: it is prose. Answer with one fenced Python block.",
        detail=text[:2000],
    )


def _edited(text: str, base: str) -> Extracted:
    edits = [(match["old"], match["new"]) for match in _EDIT.finditer(text)]
    if len(edits) < len(_EDIT_START.findall(text)):
        raise CandidateFailure(
            FailureKind.NO_CODE,
            "An edit block is malformed: each needs <<<<<<< SEARCH, =======, >>>>>>> REPLACE, "
            "every one on a line of its own.",
            detail=text[:2000],
        )
    edited = base.replace("\r\n", "\n")
    for number, (old, new) in enumerate(edits, start=1):
        edited = _replace_once(edited, old, new, number)
    program = _closed(edited)
    if not _is_program(program):
        raise _explain(edited)
    return Extracted(program, f"{len(edits)} edits of the given program")


def _replace_once(program: str, old: str, new: str, number: int) -> str:
    if not old.strip():
        raise CandidateFailure(FailureKind.NO_CODE, f"Edit {number}: its SEARCH text is empty.")
    spans = _matches(program, old)
    if len(spans) == 1:
        start, end = spans[0]
        return program[:start] + new + program[end:]
    what = f"occurs {len(spans)} times" if spans else "was not found"
    raise CandidateFailure(
        FailureKind.NO_CODE,
        f"Edit {number}: its SEARCH text {what} in the program; copy whole lines exactly, "
        f"enough of them to be unique.",
        detail=old[:2000],
    )


def _matches(program: str, old: str) -> list[tuple[int, int]]:
    """Places where whole lines agree, but for white space at their ends."""
    lines = program.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    wanted = [line.rstrip() for line in old.removesuffix("\n").split("\n")]
    bare = [line.rstrip() for line in lines]
    return [
        (starts[place], min(starts[place + len(wanted)], len(program)))
        for place in range(len(bare) - len(wanted) + 1)
        if bare[place : place + len(wanted)] == wanted
    ]


def _defined(program: Program) -> frozenset[str] | None:
    """Names of the top-level functions, or None when it does not parse."""
    try:
        tree = program.tree
    except UNPARSABLE:
        return None
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def _is_program(program: Program) -> bool:
    names = _defined(program)
    return names is not None and any(form <= names for form in _FORMS)


def _closed(text: str) -> Program:
    return Program(text.strip("\n") + "\n")


def _explain(text: str) -> CandidateFailure:
    """Explain why this text is no program, with the lines around a syntax error."""
    program = Program(text)
    try:
        _ = program.tree
    except SyntaxError as error:
        line = error.lineno or 1
        return CandidateFailure(
            FailureKind.NO_CODE,
            f"The program does not parse: line {line}: {error.msg}.",
            detail=_around(text, line),
        )
    except (ValueError, RecursionError, MemoryError) as error:
        return CandidateFailure(FailureKind.NO_CODE, f"The program does not parse: {error}.")
    names = _defined(program) or frozenset()
    missing = sorted(_FORMS[0] - names)
    return CandidateFailure(
        FailureKind.NO_CODE,
        f"The program lacks the function {' and '.join(missing)}; it defines: "
        f"{', '.join(sorted(names)[:12]) or 'no function'}.",
        detail=text[:2000],
    )


def _around(text: str, line: int, context: int = 8) -> str:
    lines = text.splitlines()
    first = max(0, line - 1 - context)
    shown = lines[first : line + context]
    return "\n".join(
        f"{'>' if first + index + 1 == line else ' '} {first + index + 1:4d} {shown_line[:160]}"
        for index, shown_line in enumerate(shown)
    )
