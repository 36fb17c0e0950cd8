"""Calls of libraries whose arguments may become code: what may be written there."""

import ast
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias, TypeGuard

from evocodec.domain.vocabulary import GateRule
from evocodec.sandbox.review.library_names import module_at
from evocodec.sandbox.review.places import Places

Objection: TypeAlias = tuple[GateRule, str]

_SIGNATURE = re.compile(r"[A-Za-z0-9_\s\[\]():,]*")  # no dots: numba knows whole modules there
_WORD = re.compile(r"[A-Za-z_]\w*")
_LAYOUT = re.compile(r"[\w\s(),>-]*")
_NUMBA_OPTIONS = frozenset(
    {
        "nopython", "nogil", "parallel", "fastmath", "boundscheck", "inline", "error_model",
        "looplift", "debug", "cache", "forceobj", "identity", "target", "writable_args",
        "no_cpython_wrapper",
    }
)  # fmt: skip


def check_library_call(node: ast.Call, path: str, places: Places) -> Iterator[Objection]:
    """Check one call of what ``path`` leads to."""
    check = _CHECKS.get(path)
    if check is not None:
        yield from check(node, places)
    elif path.startswith("numba.types."):
        yield from _check_numba_types(node, places)


def _check_numba(node: ast.Call, places: Places) -> Iterator[Objection]:
    for keyword in node.keywords:
        if keyword.arg is None:
            yield GateRule.NATIVE_CODE, "write numba's options out instead of **options"
        elif keyword.arg == "cache" and not _is_false(keyword.value):
            yield GateRule.FILE_ACCESS, "cache=True makes numba write files; leave it out"
        elif keyword.arg == "forceobj" and not _is_false(keyword.value):
            yield GateRule.NATIVE_CODE, "forceobj compiles nothing; leave it out"
        elif keyword.arg not in _NUMBA_OPTIONS:
            yield (
                GateRule.UNSAFE_LOADING,
                f"numba's option {keyword.arg[:40]} may not be given here; leave it out",
            )
    for position, argument in enumerate(node.args):
        layout = position == 1 and _is_text(argument) and _LAYOUT.fullmatch(str(argument.value))
        if not layout and not _is_signature(argument, places):
            message = (
                "numba evaluates signatures: write them as plain texts of types, "
                "'int32(int32[:, ::1])', or leave them out"
            )
            yield GateRule.UNSAFE_LOADING, message


def _is_signature(node: ast.expr, places: Places) -> bool:
    """A literal text of types, a list of such, an expression of numba's types, or a function."""
    if isinstance(node, ast.Constant):
        text = node.value
        if not isinstance(text, str):
            return text is None
        types = module_at("numba.types")
        known = types is not None and all(map(types.has, _WORD.findall(text)))
        return known and _SIGNATURE.fullmatch(text) is not None
    if isinstance(node, ast.List | ast.Tuple):
        return all(_is_signature(part, places) for part in node.elts)
    if isinstance(node, ast.Name) and places.is_function(node.id):
        return True
    return isinstance(node, ast.Lambda) or _is_type(node, places)


def _is_type(node: ast.expr, places: Places) -> bool:
    """Whether an expression is made only of numba's types, slices and numbers."""
    stack: list[ast.expr | None] = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, ast.Name | ast.Attribute):
            paths = places.of(part)
            if not paths or not all(path.startswith("numba.") for path in paths):
                return False
        elif isinstance(part, ast.Call):
            if part.keywords:
                return False
            stack += [part.func, *part.args]
        elif isinstance(part, ast.Subscript):
            stack += [part.value, part.slice]
        elif isinstance(part, ast.Slice):
            stack += [part.lower, part.upper, part.step]
        elif isinstance(part, ast.Tuple | ast.List):
            stack += part.elts
        elif not (part is None or (isinstance(part, ast.Constant) and not _is_text(part))):
            return False
    return True


def _check_numba_types(node: ast.Call, places: Places) -> Iterator[Objection]:
    del places
    if any(_is_text(argument) and not _is_short_word(argument) for argument in node.args):
        yield GateRule.UNSAFE_LOADING, "a numba type may not be made from a text"


def _check_copied_names(node: ast.Call, places: Places) -> Iterator[Objection]:
    del places
    if node.keywords or any(isinstance(part, ast.Starred) for part in node.args):
        yield (
            GateRule.DYNAMIC_ATTRIBUTE,
            "functools.wraps takes only the function here: it copies attributes by their names",
        )
    elif len(node.args) > 2:
        yield GateRule.DYNAMIC_ATTRIBUTE, "leave the names of attributes to functools"


def _check_wraps(node: ast.Call, places: Places) -> Iterator[Objection]:
    if len(node.args) > 1:
        yield GateRule.DYNAMIC_ATTRIBUTE, "leave the names of attributes to functools"
    else:
        yield from _check_copied_names(node, places)


def _check_field(node: ast.Call, places: Places) -> Iterator[Objection]:
    if not places.is_field_value(node):
        yield (
            GateRule.UNSAFE_LOADING,
            "dataclasses.field() may only stand after = in a class that @dataclass decorates "
            "first: dataclasses make code of its name",
        )


def _check_dataclass(node: ast.Call, places: Places) -> Iterator[Objection]:
    if node.args or not places.is_last_decorator(node.func):
        yield (
            GateRule.UNSAFE_LOADING,
            "dataclass may only be the decorator next to a class: it makes code of names",
        )


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _is_text(node: ast.expr) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _is_short_word(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and str(node.value).isidentifier()


_CHECKS: dict[str, Callable[[ast.Call, Places], Iterator[Objection]]] = {
    **dict.fromkeys(
        (
            "numba.jit", "numba.njit", "numba.vectorize", "numba.guvectorize", "numba.stencil",
        ),
        _check_numba,
    ),
    "functools.wraps": _check_wraps,
    "functools.update_wrapper": _check_copied_names,
    "dataclasses.field": _check_field,
    "dataclasses.dataclass": _check_dataclass,
}  # fmt: skip
