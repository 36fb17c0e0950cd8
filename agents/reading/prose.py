"""Prose around code that has no fence: what may be dropped without dropping a part of the code."""

import ast
import re

from agents.reading.candidates import ProgramText, whole_program
from agents.reading.characters import visible
from evocodec.codec.syntax import UNPARSABLE, parse

_KEYWORDS = re.compile(
    r"(?:def|class|import|from|for|while|if|elif|else|return|with|try|except|finally|raise|assert|"
    r"global|nonlocal|del|pass|break|continue|async|await|yield|lambda|match|case)\b"
)
_MOST_STARTS = 40
_TAG = re.compile(r"^\s*</?[A-Za-z][\w.:=\"' /-]*>\s*$")


def code_between_prose(text: str) -> ProgramText | None:
    """The program that is left when lines of prose before and after it are dropped.

    A line is dropped only if it cannot be code: a program that was cut off stays refused.
    """
    lines = text.split("\n")
    end = len(lines)
    while end > 0 and is_prose(lines[end - 1], before=False):
        end -= 1
    for start in range(min(len(lines), _MOST_STARTS)):
        if start and not is_prose(lines[start - 1], before=True):
            return None
        if not lines[start].strip():
            continue
        found = whole_program("\n".join(lines[start:end]))
        if found is not None:
            return found
    return None


def is_prose(line: str, *, before: bool) -> bool:
    """Whether a line may be dropped; ``before`` the code, a heading may look like a remark."""
    line = visible(line)
    bare = line.strip()
    if not bare or _TAG.match(line):
        return True
    if before and bare.startswith("#") and "evolve:" not in bare:
        return True
    if line[0] in " \t" or bare[0] in ")]}@#'\"\\" or _KEYWORDS.match(bare):
        return False
    if bare[-1] in "([{,\\=+-*/&|" or '"""' in bare or "'''" in bare:
        return False
    if any(bare.count(opening) != bare.count(closing) for opening, closing in ("()", "[]", "{}")):
        return False
    is_sentence = " " in bare or bare[-1] in ".!?:"
    return is_sentence and not _has_effect(bare)


def _has_effect(line: str) -> bool:
    """Whether a line is code that does something."""
    for text in (line, f"{line} pass"):
        try:
            body = parse(text).body
        except UNPARSABLE:
            continue
        return any(
            not isinstance(node, ast.Expr) or any(map(_acts, ast.walk(node))) for node in body
        )
    return False


def _acts(node: ast.AST) -> bool:
    return isinstance(node, ast.Call | ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr)
