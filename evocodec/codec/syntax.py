"""Syntax trees of untrusted programs; parsing is safe from any thread."""

import ast
import threading
from types import CodeType

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
