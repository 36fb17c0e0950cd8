"""Program extraction from a chat reply: the program that is meant, or the reason there is none.

What can be read in one way only is read: fences, edits, diffs, reasoning beside the answer, and
what copying adds to a text. What can be read in two ways is refused, and asked for again.
"""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agents.reading.blocks import Block, blocks_of, outside, tidy_lines, without_lines
from agents.reading.candidates import (
    FORMS,
    ProgramText,
    closed,
    defined,
    is_elided,
    is_stub,
    is_whole,
    unknown_names,
    whole_program,
)
from agents.reading.characters import AmbiguousTextError, mended, with_plain_line_ends
from agents.reading.edits import Edit, MalformedEditError, edit_spans, edits_in, has_edits
from agents.reading.placing import Applied, Misfit, apply_edits
from agents.reading.prose import code_between_prose
from agents.reading.reasoning import answer_in, has_code, has_marks
from agents.reading.refusals import is_refusal
from evocodec.codec.program import Program
from evocodec.codec.syntax import UNPARSABLE
from evocodec.domain.errors import CandidateFailure, FailureKind

_DEFINITION = re.compile(r"^def (encode|decode|compress_video_frame|decompress_video_frame)\(",
                         re.MULTILINE)  # fmt: skip
_UNFENCED_FUNCTION = re.compile(
    r"def (?:encode|decode|compress_video_frame)\([^)]*\)[^:\n\\]*:[ \t]*(?:#[^\n]*)?(?:\\n|\n)"
)
_DEFINITIONS = (
    ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign
)  # fmt: skip
_OTHER_LANGUAGES = frozenset(
    {"bash", "sh", "shell", "console", "json", "yaml", "toml", "text", "txt", "diff", "patch"}
) | {"markdown", "md", "math", "latex"}
_MOST_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Extracted:
    """A program that parses and has one of the two forms, and how it was found."""

    program: Program
    how: str


@dataclass(frozen=True, slots=True)
class KeptEdits:
    """The program with those edits of a reply that fitted, and those that did not."""

    text: str
    fitted: tuple[int, ...] = ()
    misfits: tuple[Misfit, ...] = ()


def extract_program(reply: str, base: str) -> Extracted:
    """Find the program in a reply; ``base`` is the program that edits refer to.

    Raises CandidateFailure (NO_CODE) that says what is wrong: empty, refusal, prose, code that
    does not parse, a function that is missing, an edit that does not fit, or two readings.
    """
    base = with_plain_line_ends(base)
    text, reasoned = _answer(reply)
    try:
        found = _found(text, base)
    except AmbiguousTextError as error:
        raise _no_code(f"The program can be read in two ways: {error}. Send it again.") from error
    if is_elided(found.program, base):
        raise _no_code(
            "The program is abbreviated: parts are replaced by a remark such as "
            "'rest unchanged'. Send every line, or SEARCH/REPLACE edits."
        )
    return replace(found, how=f"{found.how}, after its reasoning") if reasoned else found


def kept_edits(reply: str, base: str) -> KeptEdits:
    """Apply those edits of a reply that fit, for a coder that is asked to mend the others."""
    base = with_plain_line_ends(base)
    try:
        text, _ = _answer(reply)
        blocks = blocks_of(text)
        if any(block.whole for block in blocks) or not has_edits(text, blocks):
            return KeptEdits(base)
        applied = apply_edits(base, edits_in(text, blocks))
    except (CandidateFailure, MalformedEditError, AmbiguousTextError):
        return KeptEdits(base)
    return KeptEdits(applied.text, applied.fitted, applied.misfits)


def looks_like_refusal(reply: str) -> bool:
    """Whether a reply without a program declines the work."""
    return is_refusal(answer_in(reply[-300_000:]).text)


def _answer(reply: str) -> tuple[str, bool]:
    """The answer without the reasoning, and whether there was any; raises when nothing is left."""
    text = tidy_lines(with_plain_line_ends(reply)).strip("\n")
    if not text.strip():
        raise _no_code("The reply was empty.")
    if not has_marks(text) or whole_program(text) is not None or _quoted(text) is not None:
        return text, False
    answer = answer_in(text, _protected(text))
    if answer.beyond:
        raise _no_code(
            "The reply goes on with code after the end of its turn: it is not clear what belongs "
            "to the answer.",
            detail=answer.beyond[:2000],
        )
    if answer.quoted and has_code(answer.text):
        raise _no_code("The reply has a mark of reasoning inside a string of its code.")
    if answer.unclosed and has_code(answer.text):
        raise _no_code("The reply has code, and reasoning after it that does not end.")
    if not answer.text.strip():
        raise _no_code(
            f"The reply was empty: the model only reasoned ({len(text)} characters)."
            if answer.reasoned
            else "The reply was empty."
        )
    return answer.text.strip("\n"), answer.reasoned


def _protected(text: str) -> list[tuple[int, int]]:
    """Character spans of code: a word in its strings or remarks ends no reasoning."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    try:
        blocks = [b for b in blocks_of(text) if b.whole or (b.closed and _parses(b.body))]
    except AmbiguousTextError:
        blocks = []
    spans = [(block.first, block.last) for block in blocks]
    edits = edit_spans(outside(text, blocks))
    return [(starts[first], starts[last]) for first, last in [*spans, *edits]]


def _parses(text: str) -> bool:
    return defined(closed(text)) is not None


def _found(text: str, base: str) -> Extracted:
    whole = whole_program(text)
    if whole is not None:
        return _as_found(whole, "the whole reply", open_ended=True)
    return _quoted_program(text, base) or _in_blocks(text, base)


def _quoted_program(text: str, base: str) -> Extracted | None:
    quoted = _quoted(text)
    if quoted is None:
        return None
    inner = _found(quoted, base)
    return replace(inner, how=f"{inner.how}, quoted as JSON")


def _in_blocks(text: str, base: str) -> Extracted:
    """The program in the blocks of a reply, in its edits, or between its prose."""
    blocks = blocks_of(text)
    wholes = [block for block in blocks if block.whole and not _in_a_string(block, blocks)]
    rest = outside(text, wholes)
    bare = without_lines(outside(text, blocks), edit_spans(outside(text, wholes)))
    if len(set(_DEFINITION.findall(bare))) >= 2:
        return _unfenced(text)
    if wholes:
        return _last_whole(text, wholes, blocks, base)
    others = [block for block in blocks if block.body.strip()]
    if has_edits(rest, others):
        return _edited(rest, others, base)
    if not others:
        return _unfenced(text)
    joined = _joined(others)
    if joined is not None:
        return joined
    raise _explain(max((block.body for block in others), key=len))


def _as_found(whole: ProgramText, how: str, *, open_ended: bool = False) -> Extracted:
    if open_ended:
        unknown = sorted(unknown_names(whole.program))
        if unknown:
            raise _no_code(
                "The program seems to be cut off: it has no closing fence, and nothing defines "
                f"{', '.join(unknown[:_MOST_SHOWN])}."
            )
    return Extracted(whole.program, ", ".join((how, *whole.mended)))


def _in_a_string(block: Block, blocks: Sequence[Block]) -> bool:
    """Whether a block is an example in the docstring of a program that could not be read."""
    before = [other for other in blocks if other.last < block.first and not other.closed]
    return any(other.body.count('"""') % 2 or other.body.count("'''") % 2 for other in before)


def _last_whole(
    text: str, wholes: Sequence[Block], blocks: Sequence[Block], base: str
) -> Extracted:
    """The last whole program that is not the given one; what follows must not contradict it."""
    full = [block for block in wholes if block.whole and not is_elided(block.whole.program, base)]
    new = [b for b in full if b.whole and b.whole.program.text.strip() != base.strip()]
    chosen = (new or full or list(wholes))[-1]
    whole = chosen.whole
    if whole is None:
        raise LookupError("a block that is a whole program has one")
    if any(block.first > chosen.last for block in wholes if block not in full):
        raise _no_code(
            "The last program of the reply is abbreviated: parts are replaced by a remark. Send "
            "every line, or SEARCH/REPLACE edits."
        )
    different = {block.whole.program.text for block in wholes if block.whole}
    how = "the whole file"
    if len(different) > 1:
        how = f"the whole file, the last of {len(different)} in the reply"
        if chosen is not wholes[-1]:
            how = f"the whole file, one of {len(different)} in the reply"
    _refuse_later_changes(text, chosen, whole.program, blocks, base)
    return _as_found(whole, how, open_ended=not chosen.closed)


def _refuse_later_changes(
    text: str, chosen: Block, program: Program, blocks: Sequence[Block], base: str
) -> None:
    """Raise where something after the chosen program changes it again."""
    later = [block for block in blocks if block.first > chosen.last and block.whole is None]
    rest = "\n".join(text.split("\n")[chosen.last + 1 :])
    beyond = outside(text, blocks).split("\n", chosen.last + 1)[-1]
    if _UNFENCED_FUNCTION.search(beyond):
        raise _no_code("The reply goes on with code outside of a fence, after a whole program.")
    if has_edits(rest, later):
        try:
            applied = apply_edits(base, edits_in(rest, later))
        except MalformedEditError:
            applied = None
        if applied is None or applied.text.strip() != program.text.strip():
            raise _no_code(
                "The reply has a whole program and edits after it: it is not clear whether they "
                "belong to that program. Send one of the two."
            )
    mine = _definitions(program)
    for block in later:
        if block.info.strip().lower() in _OTHER_LANGUAGES:
            continue
        part = closed(block.body)
        if not block.closed and block.body.strip():
            raise _no_code("The reply ends within another block, after a whole program.")
        named = block.info.strip().lower().startswith("py")
        if defined(part) is None and (named or _DEFINITION.search(block.body)):
            raise _explain(block.body)
        if is_elided(part, base):
            continue
        theirs = _definitions(part)
        changed = [name for name, dump in theirs.items() if mine.get(name, dump) != dump]
        if changed:
            raise _no_code(
                f"A block after the whole program changes {', '.join(changed[:_MOST_SHOWN])} "
                "again: it is not clear which one is meant. Send one whole program."
            )
    again = {name for block in later for name in _DEFINITION.findall(block.body)}
    if any(form <= again for form in FORMS):
        raise _no_code(
            "The reply has a whole program and then another one in parts: it is not clear which "
            "one is meant. Send one whole program."
        )


def _definitions(program: Program) -> dict[str, str]:
    """Top-level names that a program gives a value to, and what that is."""
    try:
        tree = program.tree
    except UNPARSABLE:
        return {}
    found: dict[str, str] = {}
    for node in tree.body:
        if is_stub(node):
            continue
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = ast.dump(node)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = ast.dump(node.value)
    return found


def _joined(blocks: Sequence[Block]) -> Extracted | None:
    """Join blocks into one program, where each has definitions only and none is there twice."""
    parts = [b for b in blocks if b.info.strip().lower().split(" ")[0] not in _OTHER_LANGUAGES]
    if len(parts) < 2:
        return None
    names: list[str] = []
    bodies: list[str] = []
    for block in parts:
        program = closed(block.body)
        try:
            tree = program.tree
        except UNPARSABLE:
            return None
        if any(map(is_stub, tree.body)):
            continue  # signatures that are shown again
        for node in tree.body:
            documented = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not documented and not isinstance(node, _DEFINITIONS):
                return None
        names += _definitions(program)
        bodies.append(block.body)
    joined = closed("\n\n".join(bodies))
    if len(names) != len(set(names)) or not is_whole(joined) or unknown_names(joined):
        return None
    how = f"the whole file, put together from {len(bodies)} blocks"
    return Extracted(joined, how)


def _quoted(text: str) -> str | None:
    """A program or edits that are a string of a JSON document which is the whole reply."""
    body = text.strip()
    fence = re.fullmatch(r"(?:```|~~~)\w*\n(?P<body>.*?)\n\s*(?:```|~~~)", body, re.DOTALL)
    if fence:
        body = fence["body"].strip()
    if body[:1] not in {"{", '"', "["}:
        return None
    try:
        value = json.loads(body, strict=False)
    except (ValueError, RecursionError):
        return None
    strings = [string for string in _strings(value) if "\n" in string]
    programs = {string for string in strings if whole_program(with_plain_line_ends(string))}
    if not programs:
        programs = {s for s in strings if has_edits(s, ()) or _DEFINITION.search(s)}
    return with_plain_line_ends(programs.pop()) if len(programs) == 1 else None


def _strings(value: object, depth: int = 0) -> list[str]:
    if isinstance(value, str):
        return [value]
    if depth > 6:
        return []
    if isinstance(value, dict):
        return [string for item in value.values() for string in _strings(item, depth + 1)]
    if isinstance(value, list):
        return [string for item in value for string in _strings(item, depth + 1)]
    return []


def _unfenced(text: str) -> Extracted:
    """Code without a fence between prose."""
    found = code_between_prose(text)
    if found is not None:
        return _as_found(found, "code without a fence, prose dropped", open_ended=True)
    if re.search(r"^\s*def\s+\w+\s*\(", text, re.MULTILINE):
        raise _explain(text)
    if is_refusal(text):
        raise _no_code("The model declined to write a program.", detail=text[:2000])
    raise _no_code(
        "The reply holds no program: it is prose. Answer with one fenced Python block.",
        detail=text[:2000],
    )


def _edited(text: str, blocks: Sequence[Block], base: str) -> Extracted:
    try:
        edits = edits_in(text, blocks)
    except MalformedEditError as error:
        raise _no_code(str(error), detail=text[:2000]) from error
    if not edits:
        raise _no_code("The edits of the reply change nothing.", detail=text[:2000])
    applied = apply_edits(base, edits)
    if applied.misfits:
        raise _misfit(applied, edits)
    program = closed(applied.text)
    if not is_whole(program):
        repaired = mended(applied.text)
        program = closed(repaired) if repaired else program
    if not is_whole(program):
        raise _explain(applied.text)
    count = f"{len(edits)} edit{'' if len(edits) == 1 else 's'} of the given program"
    if applied.present:
        count += f", {applied.present} of them made before"
    if applied.drifted:
        count += f", {applied.drifted} with other white space or remarks"
    return Extracted(program, count)


def _misfit(applied: Applied, edits: Sequence[Edit]) -> CandidateFailure:
    first = applied.misfits[0]
    more = len(applied.misfits) - 1
    message = f"Edit {first.number}: {first.why}."
    if len(edits) > 1:
        message += f" {len(applied.fitted)} of {len(edits)} edits fit."
    if more:
        message += (
            f" The others that do not: {', '.join(str(m.number) for m in applied.misfits[1:])}."
        )
    return _no_code(message, detail=first.edit.old[:2000])


def _explain(text: str) -> CandidateFailure:
    """Explain why this text is no program, with the lines around a syntax error."""
    program = Program(text)
    try:
        _ = program.tree
    except SyntaxError as error:
        line = error.lineno or 1
        return _no_code(
            f"The program does not parse: line {line}: {error.msg}.", detail=_around(text, line)
        )
    except (ValueError, RecursionError, MemoryError) as error:
        return _no_code(f"The program does not parse: {error}.")
    names = (defined(program) or {}).keys()
    missing = sorted(FORMS[0] - names)
    if not missing:
        return _no_code("The program's encode or decode is a signature without a body.")
    return _no_code(
        f"The program lacks the function {' and '.join(missing)}; it defines: "
        f"{', '.join(sorted(names)[:_MOST_SHOWN]) or 'no function'}.",
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


def _no_code(message: str, *, detail: str = "") -> CandidateFailure:
    return CandidateFailure(FailureKind.NO_CODE, message, detail=detail)
