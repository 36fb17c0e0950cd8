"""Size of a program, compressed."""

import ast
import lzma

from evocodec.codec.syntax import parse

PACKING = "LZMA2 in .xz, preset 9 extreme, 1 MiB dictionary"
"""How a program's text is compressed for ``packed_program_bytes``."""


_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**20}]


def packed_program_bytes(source: str) -> int:
    """Size of a program compressed (``PACKING``), embedded weights included.

    Comments, docstrings and formatting cost nothing: the text is written anew from its syntax
    tree. A text that does not parse is packed as it is.
    """
    try:
        tree = parse(source)
        _drop_docstrings(tree)
        text = ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        text = source
    return len(lzma.compress(text.encode(errors="surrogatepass"), filters=_FILTERS))


def _drop_docstrings(tree: ast.Module) -> None:
    documented = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
