"""Characters that chat programs and word processors put into code, mended outside of strings."""

import html
import re
import unicodedata
from collections.abc import Callable

_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d{1,6}|#x[0-9a-fA-F]{1,6});")
_DOUBLE, _SINGLE = "“”„‟«»", "‘’‚‛"
_DASHES = "\u2010\u2011\u2012\u2013\u2212"
_LINE_ENDS = "\u2028\u2029\x85"
_MEANT = {**dict.fromkeys(_DASHES, "-"), **dict.fromkeys(_LINE_ENDS, "\n"), "…": "..."}
_PREFIX = re.compile(r"(?i)(?<!\w)(?:[rbfu]|br|rb|fr|rf)\Z")


class AmbiguousTextError(ValueError):
    """A text that can be read in two ways."""


def with_plain_line_ends(text: str) -> str:
    """Line ends as Python and Markdown read them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_invisible(character: str) -> bool:
    """Whether a character has no width: marks of order and of joining, soft hyphens."""
    return unicodedata.category(character) == "Cf"


def is_odd_space(character: str) -> bool:
    """Whether a character is a space that Python does not take for one."""
    return character != " " and unicodedata.category(character) == "Zs"


def visible(line: str) -> str:
    """A line of text without characters of no width, and with plain spaces."""
    if line.isascii():
        return line
    kept = (" " if is_odd_space(c) else c for c in line if not is_invisible(c))
    return "".join(kept)


def mended(code: str) -> str | None:
    """The same program in the characters of Python; None where that cannot be said for sure.

    Strings and comments stay as they are. What stands outside of them has one meaning only: a
    typographic quote that opens a string, a space of another width, a minus sign.
    """
    if code.isascii():
        return None
    if not re.search(r"[ \t]", code):  # the copying changed every space, in strings too
        code = "".join(" " if is_odd_space(c) else c for c in code)
    lexer = _Lexer(code)
    return lexer.result()


class _Lexer:
    """Walks over Python text and tells strings and comments from the rest."""

    def __init__(self, code: str) -> None:
        self._code = code
        self._at = 0
        self._out: list[str] = []
        self._doubtful = False
        self._spaces_changed = False

    def result(self) -> str | None:
        """The mended text, or None where it is in doubt."""
        while self._at < len(self._code):
            character = self._code[self._at]
            if character == "#":
                self._comment()
            elif character in "\"'" or character in _DOUBLE + _SINGLE:
                self._string(character)
            else:
                self._out.append(self._outside(character))
                self._at += 1
        return None if self._doubtful else "".join(self._out)

    def _outside(self, character: str) -> str:
        if character.isascii():
            return character
        if is_odd_space(character):
            self._spaces_changed = True
            return " "
        if character in _MEANT:
            return _MEANT[character]
        if is_invisible(character):
            return ""
        plain = unicodedata.normalize("NFKC", character)
        is_word = character.isalnum() or character == "_"
        return plain if not is_word and len(plain) == 1 and plain.isascii() else character

    def _comment(self) -> None:
        end = self._code.find("\n", self._at)
        end = len(self._code) if end < 0 else end
        self._out.append(self._code[self._at : end])
        self._at = end

    def _string(self, quote: str) -> None:
        plain = '"' if quote == '"' or quote in _DOUBLE else "'"
        family = plain if quote in "\"'" else plain + (_DOUBLE if plain == '"' else _SINGLE)
        raw = _PREFIX.search("".join(self._out[-2:])) is not None and "r" in (
            "".join(self._out[-2:]).lower()
        )
        triple = all(c in family for c in self._code[self._at : self._at + 3]) and (
            len(self._code) >= self._at + 3
        )
        width = 3 if triple else 1
        start = self._at
        self._at += width
        body = self._at
        while self._at < len(self._code):
            character = self._code[self._at]
            if character == "\\" and not (raw and self._code[self._at + 1 : self._at + 2] == "\n"):
                self._at += 2
                continue
            window = self._code[self._at : self._at + width]
            if len(window) == width and all(c in family for c in window):
                break
            if character == "\n" and not triple:
                break
            self._at += 1
        content = self._code[body : self._at]
        if family != plain and plain in content:
            self._doubtful = True  # a straight quote within curly ones would end the string
        if not triple and self._spaces_changed and any(map(is_odd_space, content)):
            self._doubtful = True  # were these spaces changed by the copying, or are they meant?
        closing = self._code[self._at : self._at + width]
        closed = len(closing) == width and all(c in family for c in closing)
        if quote in "\"'":
            self._out.append(self._code[start : self._at])
        else:
            self._out.append(plain * width + content)
        if closed:
            self._out.append(plain * width)
            self._at += width


def without_entities(code: str, parses: Callable[[str], bool]) -> str | None:
    """The text with its HTML entities resolved, if it was escaped for a page; None if it was not.

    Raises AmbiguousTextError where both readings are programs.
    """
    if not _ENTITY.search(code) or re.search(r"[<>]", code):
        return None
    if any(not _ENTITY.match(code, place.start()) for place in re.finditer("&", code)):
        return None
    plain = html.unescape(code)
    if parses(code) and not _has_entity_in_code(code):
        raise AmbiguousTextError("it is not clear whether its text is escaped for HTML")
    return plain


def _has_entity_in_code(code: str) -> bool:
    """Whether an entity stands outside of strings and comments, where Python knows none."""
    bare = re.sub(r"(\"\"\"|''').*?\1|\"[^\"\n]*\"|'[^'\n]*'|#[^\n]*", "", code, flags=re.DOTALL)
    return _ENTITY.search(bare) is not None
