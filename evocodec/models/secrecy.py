"""Keys in what endpoints say: a server may echo them, whole, in part or masked."""

import re
from collections.abc import Iterator

from evocodec.keys import known_keys
from evocodec.models.endpoint import Endpoint
from evocodec.telemetry.redact import Redactor

_PART = 8  # characters of a key in a row that give it away
_MASKED = re.compile(r"(?<![\w*])[\w-]{2,}\*{3,}[\w-]*")  # OpenAI: "sk-abc***********wxyz"
_HIDDEN = "[hidden]"


def without_keys(text: str, endpoint: Endpoint) -> str:
    """Return a reply without the keys that its server knows; the rest stays as it is."""
    return Redactor.of_secrets(_secrets(endpoint))(text)


def redacted(message: str, endpoint: Endpoint) -> str:
    """Return an error's text without keys, and without parts of them."""
    text = _MASKED.sub(_HIDDEN, Redactor(_secrets(endpoint))(message))
    for secret in _secrets(endpoint):
        text = _without_parts(text, secret)
    return text


def _secrets(endpoint: Endpoint) -> tuple[str, ...]:
    given = [endpoint.api_key, *(value for _, value in endpoint.headers)]
    return tuple(filter(None, (*given, *known_keys())))


def _without_parts(text: str, secret: str) -> str:
    parts = {secret[at : at + _PART] for at in range(len(secret) - _PART + 1)}
    if not any(part in text for part in parts):
        return text
    hidden = bytearray(len(text))
    for at in range(len(text) - _PART + 1):
        if text[at : at + _PART] in parts:
            hidden[at : at + _PART] = b"\1" * _PART
    return "".join(_pieces(text, hidden))


def _pieces(text: str, hidden: bytearray) -> Iterator[str]:
    before = 0
    for character, hide in zip(text, hidden, strict=True):
        if not hide:
            yield character
        elif not before:
            yield _HIDDEN
        before = hide
