"""Turning away programs that were evaluated before, before they cost anything."""

import ast
import hashlib
import re
import threading
from collections.abc import Iterator, Mapping, Sequence

_SILENT = frozenset({"annotation", "returns", "type_comment", "ctx", "kind", "type_params"})
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def normalised_digest(source: str, *, float_digits: int | None = None) -> str:
    """SHA-256 of what a program does, as far as its syntax tells.

    Comments, docstrings, formatting, annotations and the names of local variables do not matter;
    constants, operators, calls and the names of functions do. A text that does not parse is
    hashed as it is. ``float_digits`` rounds float constants to that many significant digits, so
    that programs which differ by less than the evaluation can tell apart are alike.
    """
    try:
        text = "\n".join(_rounded(token, float_digits) for token in _tokens(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        text = "unparsable\n" + source
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


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


def _rounded(token: str, digits: int | None) -> str:
    if digits is None or not re.fullmatch(r"-?\d*\.\d+(e-?\d+)?", token):
        return token
    return f"{float(token):.{digits}g}"


def _tokens(source: str) -> Iterator[str]:
    """The syntax tree as a sequence of short words, local names replaced by their place."""
    for statement in _body(ast.parse(source)):
        yield from _walk(statement, {}, 0)


def _body(node: ast.AST) -> list[ast.stmt]:
    """Statements of a body without its docstring."""
    body: list[ast.stmt] = getattr(node, "body", [])
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        return body[1:] if isinstance(body[0].value.value, str) else body
    return body


def _walk(node: ast.AST, names: Mapping[str, str], depth: int) -> Iterator[str]:
    yield type(node).__name__
    if isinstance(node, ast.Name):
        yield names.get(node.id, node.id)
    elif isinstance(node, ast.arg):
        yield names.get(node.arg, node.arg)
    elif isinstance(node, ast.Constant):
        yield repr(node.value)
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield node.name
        yield from _walk_field(node.decorator_list, names, depth)
        yield from _walk_function(node.args, _body(node), names, _locals(node), depth)
    elif isinstance(node, ast.Lambda):
        yield from _walk_function(node.args, [node.body], names, _locals(node), depth)
    else:
        for field, value in ast.iter_fields(node):
            if field in _SILENT:
                continue
            skips_docstring = field == "body" and isinstance(node, ast.ClassDef)
            yield from _walk_field(_body(node) if skips_docstring else value, names, depth)


def _walk_field(value: object, names: Mapping[str, str], depth: int) -> Iterator[str]:
    """One field and its end; without the end, ``if`` and ``else`` would run into each other."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, ast.AST):
            yield from _walk(item, names, depth)
        else:
            yield str(item)
    yield ";"


def _walk_function(
    arguments: ast.arguments,
    body: Sequence[ast.AST],
    outer: Mapping[str, str],
    own: Mapping[str, str],
    depth: int,
) -> Iterator[str]:
    """Parameters and body with the function's own names; defaults belong to the outside."""
    names = {**outer, **{name: f"local {depth} {place}" for name, place in own.items()}}
    for group in (arguments.posonlyargs, arguments.args, arguments.kwonlyargs):
        yield from _walk_field(group, names, depth + 1)
    yield from _walk_field([arguments.vararg, arguments.kwarg], names, depth + 1)
    yield from _walk_field(arguments.defaults, outer, depth)
    yield from _walk_field(arguments.kw_defaults, outer, depth)
    yield from _walk_field(list(body), names, depth + 1)


def _locals(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> dict[str, str]:
    """Names that a function binds, each with its place in the order of binding."""
    groups = (node.args.posonlyargs, node.args.args, node.args.kwonlyargs)
    bound = [argument.arg for group in groups for argument in group]
    bound += [extra.arg for extra in (node.args.vararg, node.args.kwarg) if extra is not None]
    foreign: set[str] = set()
    for inner in _inside(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            bound.append(inner.id)
        elif isinstance(inner, (ast.Global, ast.Nonlocal)):
            foreign.update(inner.names)
    own = [name for name in dict.fromkeys(bound) if name not in foreign]
    return {name: str(place) for place, name in enumerate(own)}


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a function's body without those of functions and classes inside it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, _SCOPES):
            yield from _inside(child)
