"""JSON objects as models write them, read where they have one meaning.

Forgiven are trailing commas, comments, single or typographic quotes, bare keys, line ends within
strings, Python's constants and unknown escapes. An object that is cut off, or a string whose end
is not certain, is not read: it would have to be guessed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

JsonValue: TypeAlias = "bool | float | str | list[JsonValue] | dict[str, JsonValue] | None"

_MOST_STARTS = 200
_MOST_DEPTH = 24
_MOST_CHARACTERS = 400_000  # looked at in strings, false starts included: each costs a step here
_SPACE = re.compile(r"(?:[\s\u200b\ufeff\u00a0]|//[^\n]*|#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_START = re.compile(r"[{\[]")
_NUMBER = re.compile(r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"[A-Za-z_][\w-]*")
_CONSTANTS: dict[str, bool | None] = {
    "true": True, "True": True, "false": False, "False": False, "null": None, "None": None,
    "undefined": None, "NaN": None, "nan": None, "Infinity": None,
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\"}
_CLOSING = {'"': '"', "'": "'", "“": "”“", "”": "”", "„": "”“", "‘": "’", "`": "`"}


@dataclass(frozen=True, slots=True)
class FoundJson:
    """An object or array in a text, from ``start`` to ``end``."""

    value: "dict[str, JsonValue] | list[JsonValue]"
    start: int
    end: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self.value


class NotJsonError(ValueError):
    """A text that is no JSON value, even with what is forgiven."""


def json_values(text: str) -> Iterator[FoundJson]:
    """Complete objects and arrays of objects in a text, outermost first, in its order."""
    position, looked_at = 0, 0
    for _ in range(_MOST_STARTS):
        match = _START.search(text, position)
        if match is None or looked_at > _MOST_CHARACTERS:
            return
        start = match.start()
        reader = _Reader(text, start)
        try:
            value = reader.value(0)
        except NotJsonError:
            looked_at += reader.at - start
            position = start + 1
            continue
        if isinstance(value, dict) or (
            isinstance(value, list) and all(isinstance(item, dict) for item in value)
        ):
            yield FoundJson(value, start, reader.at)
        position = max(reader.at, start + 1)


class _Reader:
    """A reader at one place of a text."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self.at = at

    def value(self, depth: int) -> JsonValue:
        """The value that begins here."""
        if depth > _MOST_DEPTH:
            raise NotJsonError("nested too deeply")
        character = self._next()
        if character == "{":
            return self._object(depth)
        if character == "[":
            return self._array(depth)
        if character in _CLOSING:
            return self._string()
        number = _NUMBER.match(self._text, self.at)
        if number is not None:
            self.at = number.end()
            return float(number[0].replace("_", ""))
        return self._constant()

    def _object(self, depth: int) -> "dict[str, JsonValue]":
        found: dict[str, JsonValue] = {}
        self.at += 1
        while self._next() != "}":
            key = self._key()
            if self._next() != ":":
                raise NotJsonError("no colon")
            self.at += 1
            if key in found:
                raise NotJsonError("a key twice")
            found[key] = self.value(depth + 1)
            self._separator("}")
        self.at += 1
        return found

    def _array(self, depth: int) -> "list[JsonValue]":
        found: list[JsonValue] = []
        self.at += 1
        while self._next() != "]":
            found.append(self.value(depth + 1))
            self._separator("]")
        self.at += 1
        return found

    def _separator(self, closing: str) -> None:
        character = self._next()
        if character == ",":
            self.at += 1
        elif character != closing:
            raise NotJsonError("no comma")

    def _key(self) -> str:
        if self._next() in _CLOSING:
            return self._string()
        word = _WORD.match(self._text, self.at)
        if word is None:
            raise NotJsonError("no key")
        self.at = word.end()
        return word[0]

    def _constant(self) -> bool | None:
        word = _WORD.match(self._text, self.at)
        if word is None or word[0] not in _CONSTANTS:
            raise NotJsonError("no value")
        self.at = word.end()
        return _CONSTANTS[word[0]]

    def _string(self) -> str:
        closing = _CLOSING[self._text[self.at]]
        self.at += 1
        parts: list[str] = []
        while True:
            character = self._character()
            if character == "\\":
                parts.append(self._escape())
            elif character in closing and not self._is_apostrophe(character):
                break
            else:
                parts.append(character)
        if self._peek() not in ",:}]":
            raise NotJsonError("a string goes on after its end")
        return "".join(parts)

    def _is_apostrophe(self, character: str) -> bool:
        """Whether a quote stands within a word: it's."""
        around = self._text[self.at - 2 : self.at + 1]
        return (
            character in "'’" and len(around) == 3 and around[0].isalpha() and around[2].isalpha()
        )

    def _escape(self) -> str:
        character = self._character()
        if character == "u":
            digits = self._text[self.at : self.at + 4]
            if re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                self.at += 4
                return self._unit(int(digits, 16))
        if character in _CLOSING:
            return character
        return _ESCAPES.get(character, "\\" + character)

    def _unit(self, unit: int) -> str:
        """A UTF-16 unit, with the second half of a pair when there is one."""
        pair = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})").match(self._text, self.at)
        if 0xD800 <= unit < 0xDC00 and pair is not None:
            self.at = pair.end()
            return chr(0x10000 + ((unit - 0xD800) << 10) + int(pair[1], 16) - 0xDC00)
        return "\ufffd" if 0xD800 <= unit < 0xE000 else chr(unit)

    def _character(self) -> str:
        if self.at >= len(self._text):
            raise NotJsonError("cut off")
        self.at += 1
        return self._text[self.at - 1]

    def _next(self) -> str:
        """The next character that says something; raises where the text ends."""
        character = self._peek()
        if not character:
            raise NotJsonError("cut off")
        return character

    def _peek(self) -> str:
        space = _SPACE.match(self._text, self.at)
        self.at = space.end() if space else self.at
        return self._text[self.at : self.at + 1]
