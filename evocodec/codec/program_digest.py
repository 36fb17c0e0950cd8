"""Digests of what a program does, to tell programs apart that only read differently."""

import ast
import hashlib
from collections.abc import Iterator
from types import CodeType

from evocodec.codec.syntax import UNPARSABLE, compile_tree, without_annotations, without_docstrings

_NEAR_DIGITS = 2


def program_digests(text: str, tree: ast.Module | None) -> tuple[str, str]:
    """Digests of what a program does, from its bytecode: an exact one and an approximate one.

    It is taken over bytecode, which knows no comments, docstrings, formatting or names of local
    variables; annotations are left out. Constants, operators, calls and the names of functions
    count. The near digest has float constants rounded to two significant digits, so that programs
    whose difference is too small to measure have the same digest.

    A text that does not parse (``tree`` is None) or compile is hashed as it is. The program is
    compiled, never executed. Bytecode differs between versions of Python, and so do digests.
    """
    if tree is not None:
        try:
            with without_docstrings(tree), without_annotations(tree):
                code = compile_tree(tree)
            exact, near = _hashed(_parts(code, None)), _hashed(_parts(code, _NEAR_DIGITS))
        except UNPARSABLE:
            pass
        else:
            return exact, near
    as_it_is = _hashed(iter(("does not compile", text)))
    return as_it_is, as_it_is


def _hashed(parts: Iterator[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode(errors="replace")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


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
        elif isinstance(constant, frozenset):
            # The order of a set of strings is another in every process.
            yield f"frozenset {sorted(map(repr, constant))}"
        else:
            yield f"{type(constant).__name__} {constant!r}"
