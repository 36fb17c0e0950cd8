"""Syntax trees of untrusted programs; parsing is safe from any thread."""

import ast
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType

UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What ``parse`` and ``compile_tree`` raise for a text that is no program."""

_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
_DOCUMENTED = ast.Module | _FUNCTION | ast.ClassDef
_HOLD_STATEMENTS = ("body", "orelse", "finalbody", "handlers", "cases")

# CPython 3.11 keeps the recursion depth of the syntax tree's constructor in one place for all
# threads: two that parse at once can fail with "AST constructor recursion depth mismatch".
_lock = threading.Lock()


def parse(source: str) -> ast.Module:
    """Return the syntax tree; executes nothing.

    Raises SyntaxError, ValueError (null bytes), RecursionError or MemoryError (nested too deeply).
    """
    with _lock:
        return ast.parse(source)


def parse_literal(expression: str) -> object:
    """Return the value of a literal; raises what ``parse`` raises, and ValueError for others."""
    with _lock:
        value: object = ast.literal_eval(expression)
    return value


def compile_tree(tree: ast.Module) -> CodeType:
    """Compile a syntax tree, to look at its bytecode; raises what ``parse`` raises."""
    with _lock:
        return compile(tree, "candidate", "exec", dont_inherit=True)


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """The module, and every statement in it at any depth, its handlers and cases too.

    Expressions hold no statements, and most nodes of a tree are expressions: they are not visited.
    """
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        yield node
        for name in _HOLD_STATEMENTS:
            stack += getattr(node, name, ())


@contextmanager
def without_docstrings(tree: ast.Module) -> Iterator[None]:
    """Take the docstrings out of a tree, and put them back at the end."""
    taken: list[tuple[list[ast.stmt], ast.stmt, list[ast.stmt]]] = []
    for node in statements(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            body, docstring = node.body, node.body[0]
            left: list[ast.stmt] = []
            if len(body) == 1:
                left = [ast.copy_location(ast.Pass(), docstring)]
            taken.append((body, docstring, left))
    for body, _, left in taken:
        body[:1] = left
    try:
        yield
    finally:
        for body, docstring, left in taken:
            body[: len(left)] = [docstring]


@contextmanager
def without_annotations(tree: ast.Module) -> Iterator[None]:
    """Take the annotations of functions out of a tree, and put them back at the end."""
    returns: list[tuple[_FUNCTION, ast.expr]] = []
    arguments: list[tuple[ast.arg, ast.expr]] = []
    for node in statements(tree):
        if not isinstance(node, _FUNCTION):
            continue
        if node.returns is not None:
            returns.append((node, node.returns))
            node.returns = None
        for argument in _arguments(node):
            if argument.annotation is not None:
                arguments.append((argument, argument.annotation))
                argument.annotation = None
    try:
        yield
    finally:
        for function, annotation in returns:
            function.returns = annotation
        for argument, annotation in arguments:
            argument.annotation = annotation


def _arguments(function: _FUNCTION) -> Iterator[ast.arg]:
    every = function.args
    yield from (*every.posonlyargs, *every.args, *every.kwonlyargs)
    yield from (star for star in (every.vararg, every.kwarg) if star is not None)
