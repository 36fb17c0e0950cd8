"""Turning away programs that were evaluated before, before they cost anything."""

import ast
import hashlib
import threading
from collections.abc import Iterator
from types import CodeType

from evocodec.codec.syntax import compile_tree, parse


def normalised_digest(source: str, *, float_digits: int | None = None) -> str:
    """SHA-256 of what a program does, as far as the compiler tells.

    It is taken over bytecode, which knows no comments, docstrings, formatting or names of local
    variables; annotations are left out. Constants, operators, calls and the names of functions
    count. A text that does not compile is hashed as it is. ``float_digits`` rounds float
    constants to that many significant digits, so that programs which differ by less than an
    evaluation can tell apart are alike. The program is compiled, never executed.
    """
    try:
        tree = parse(source)
        _drop_words(tree)
        code = compile_tree(tree)
        parts = list(_parts(code, float_digits))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        parts = ["does not compile", source]
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode(errors="replace")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


class Novelty:
    """Who was first with a program; any thread may call.

    With ``near``, programs that differ only in float constants, and there by less than their
    second significant digit, count as the same. Likeness of the text is no measure: one constant
    among thousands of lines can be the whole experiment.
    """

    def __init__(self, *, near: bool = False) -> None:
        self._float_digits = 2 if near else None
        # Two candidates in flight must not both be first with one program.
        self._lock = threading.Lock()
        self._owners: dict[str, str] = {}

    def claim(self, candidate_id: str, source: str) -> str | None:
        """Claim a program; returns the other candidate that has it already, or None.

        A candidate may claim its own program again, and others in later attempts.
        """
        digest = normalised_digest(source, float_digits=self._float_digits)
        with self._lock:
            owner = self._owners.setdefault(digest, candidate_id)
        return None if owner == candidate_id else owner


def _drop_words(tree: ast.Module) -> None:
    """Take out docstrings and annotations: they would leave traces in the bytecode."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        documented = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
    ast.fix_missing_locations(tree)


def _parts(code: CodeType, float_digits: int | None) -> Iterator[str | bytes]:
    """Everything in a code object that decides what it does, nested ones in place."""
    arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    yield f"{code.co_name} {arguments} {code.co_flags}"
    yield code.co_code
    yield code.co_exceptiontable
    yield repr(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts(constant, float_digits)
        elif isinstance(constant, float) and float_digits is not None:
            yield f"float {constant:.{float_digits}g}"
        else:
            yield f"{type(constant).__name__} {constant!r}"
