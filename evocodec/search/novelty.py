"""Turning away programs that were evaluated before, before they cost anything."""

import ast
import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence

_SHINGLE = 5
_SILENT = frozenset({"annotation", "returns", "type_comment", "ctx", "kind", "type_params"})
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_Shingles = frozenset[tuple[str, ...]]


def normalised_digest(source: str) -> str:
    """SHA-256 of what a program does, as far as its syntax tells.

    Comments, docstrings, formatting, annotations and the names of local variables do not matter;
    constants, operators, calls and the names of functions do. A text that does not parse is
    hashed as it is.
    """
    try:
        text = "\n".join(_tokens(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        text = "unparsable\n" + source
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def similarity(a: str, b: str) -> float:
    """Share of common runs of five syntax tokens (Jaccard index), 0…1; 1 for equal programs."""
    return _jaccard(_shingles(a), _shingles(b))


class Novelty:
    """Who was first with a program; any thread may call.

    ``near_above``: programs more similar than this count as the same. None turns that off: right
    for mutations, which differ by a constant and mean it.
    """

    def __init__(self, *, near_above: float | None = None) -> None:
        self._near_above = near_above
        # Two candidates in flight must not both be first with one program.
        self._lock = threading.Lock()
        self._owners: dict[str, str] = {}
        self._shingles: dict[str, tuple[str, _Shingles]] = {}

    def claim(self, candidate_id: str, source: str) -> str | None:
        """Claim a program; returns the other candidate that has it already, or None.

        A candidate may claim its own program again, and others in later attempts.
        """
        digest = normalised_digest(source)
        shingles = _shingles(source) if self._near_above is not None else frozenset()
        with self._lock:
            owner = self._owners.get(digest)
            if owner is None and self._near_above is not None:
                owner = self._near(candidate_id, shingles, self._near_above)
            if owner is not None:
                return None if owner == candidate_id else owner
            self._owners[digest] = candidate_id
            self._shingles[digest] = (candidate_id, shingles)
            return None

    def _near(self, candidate_id: str, shingles: _Shingles, above: float) -> str | None:
        near = (
            (_jaccard(shingles, known), owner)
            for owner, known in self._shingles.values()
            if owner != candidate_id
        )
        score, owner = max(near, default=(0.0, ""))
        return owner if score > above else None


def _jaccard(a: _Shingles, b: _Shingles) -> float:
    if not a and not b:
        return 1.0
    return len(a & b) / len(a | b)


def _shingles(source: str) -> _Shingles:
    try:
        tokens = list(_tokens(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tokens = source.split()
    if len(tokens) < _SHINGLE:
        return frozenset({tuple(tokens)} if tokens else ())
    return frozenset(
        tuple(tokens[start : start + _SHINGLE]) for start in range(len(tokens) - _SHINGLE + 1)
    )


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
