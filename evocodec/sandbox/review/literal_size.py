"""Rule against data in a program's text: a literal, a table or names that could hold a bitstream.

What counts is information, not characters: everything is measured compressed, so a transform's
basis or a table of quantisers weighs little, and a bitstream weighs what it is, also as hexadecimal
digits, base64 or numbers. Trained weights are such data too: who embeds them raises the limit.
"""

import ast
import re
import zlib
from collections.abc import Iterable, Iterator

from evocodec.domain.candidate import Finding
from evocodec.domain.vocabulary import GateRule
from evocodec.sandbox.review.name_scopes import children_of

TABLE_FACTOR = 4
"""A display of literals, as a list of numbers is, may hold so many times what one literal may."""

TOTAL_FACTOR = 8
"""All literals together may hold so many times what one may; so may all names, all comments."""

_MAX_NAME = 200  # characters
_COMMENT = re.compile(r"#.*")
_DISPLAYS = (ast.List, ast.Tuple, ast.Set, ast.Dict)
_NAMED = frozenset(
    {
        *(ast.arg, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.keyword, ast.Global),
        *(ast.Nonlocal, ast.alias, ast.MatchAs, ast.MatchStar, ast.ExceptHandler, ast.MatchClass),
    }
)
_SHORTEST = 64  # a text of so few bytes holds no clip, and is not worth compressing


def check_literals(
    text: str, nodes: Iterable[ast.AST], *, max_literal_bytes: int
) -> Iterator[Finding]:
    """Yield a finding for each literal, table, sum of literals or of names that is too large.

    ``nodes`` are all nodes of the program's tree, in any order. Sizes are of the literals' text,
    compressed by zlib; a docstring is a literal like any other, since a program can read it.
    """
    names: set[str] = set()
    literals: list[bytes] = []
    inside: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif type(node) in _NAMED:
            names.update(_names(node))
        elif isinstance(node, _DISPLAYS) and id(node) not in inside:
            found, below = _contents(node)
            inside |= below
            yield from _too_large(
                b" ".join(found), TABLE_FACTOR * max_literal_bytes, "this table", node
            )
        elif isinstance(node, ast.Constant) and _counts(node.value):
            written = _written(node.value)
            literals.append(written)
            yield from _too_large(written, max_literal_bytes, "this literal", node)
    for name in sorted(names):
        if len(name) > _MAX_NAME:
            message = f"a name has {len(name)} characters; at most {_MAX_NAME} are allowed"
            yield Finding(GateRule.LITERAL, message)
            break
    total = TOTAL_FACTOR * max_literal_bytes
    yield from _too_large(b" ".join(literals), total, "all literals together")
    yield from _too_large(" ".join(sorted(names)).encode(), total, "all names together")
    comments = "\n".join(_COMMENT.findall(text)).encode(errors="surrogatepass")
    yield from _too_large(comments, total, "all comments together")


def _too_large(
    content: bytes, limit: int, what: str, node: ast.expr | None = None
) -> Iterator[Finding]:
    if len(content) <= max(limit, _SHORTEST):
        return
    size = len(zlib.compress(content, 9))
    if size > limit:
        verb = "holds" if node is not None else "hold"
        yield Finding(
            GateRule.LITERAL,
            f"{what} {verb} {size / 1024:.1f} KiB compressed; at most {limit / 1024:g} KiB of data "
            "may stand there: compute tables, and keep clips and bitstreams out of the program "
            "(sandbox.max_literal_kib)",
            node.lineno if node is not None else 0,
        )


def _contents(display: ast.AST) -> tuple[list[bytes], set[int]]:
    """Return the literals within a display, and the displays within it."""
    found: list[bytes] = []
    below: set[int] = set()
    stack = [*children_of(display)]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Constant) and _counts(node.value):
            found.append(_written(node.value))
        elif isinstance(node, _DISPLAYS):
            below.add(id(node))
        stack += children_of(node)
    return found, below


def _counts(value: object) -> bool:
    return isinstance(value, str | bytes | int | float | complex) and not isinstance(value, bool)


def _written(value: object) -> bytes:
    """Return what a literal holds; large integers as bytes, which a text of digits costs time."""
    match value:
        case bytes():
            return value
        case str():
            return value.encode(errors="surrogatepass")
        case int() if value.bit_length() > 128:
            return value.to_bytes((value.bit_length() + 7) // 8)
        case _:
            return repr(value).encode()


def _names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.ClassDef(name=name) | ast.keyword(arg=str(name)):
            yield name
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            yield from names
        case ast.alias(asname=str(name)):
            yield name
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.ExceptHandler(name=str(name)):
            yield name
        case ast.MatchClass(kwd_attrs=names):
            yield from names
