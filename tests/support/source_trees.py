"""The project's own source files, parsed once for all tests that look into them."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("evocodec", "agents", "graph")


@cache
def product_files() -> tuple[Path, ...]:
    """Return every Python file of the product."""
    found = tuple(path for room in PRODUCT for path in sorted((ROOT / room).rglob("*.py")))
    assert len(found) > 200
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a file; it must not be changed."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Return every node of a file, in the order of ``ast.walk``."""
    return tuple(ast.walk(tree_of(path)))


def name_of(path: Path) -> str:
    """Return a file's path inside the project, as tests write it."""
    return path.relative_to(ROOT).as_posix()
