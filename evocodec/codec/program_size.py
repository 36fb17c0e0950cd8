"""Size of a program, compressed."""

import ast
import lzma

from evocodec.codec.syntax import UNPARSABLE, without_docstrings

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**20}]


def packed_program_bytes(text: str, tree: ast.Module | None) -> int:
    """Size of a program compressed as .xz (LZMA2, preset 9 extreme), embedded weights included.

    Comments, docstrings and formatting cost nothing: the text is written anew from its syntax
    tree. A text that does not parse (``tree`` is None) is packed as it is.
    """
    if tree is not None:
        try:
            with without_docstrings(tree):
                text = ast.unparse(tree)
        except UNPARSABLE:
            pass
    return len(lzma.compress(text.encode(errors="surrogatepass"), filters=_FILTERS))
