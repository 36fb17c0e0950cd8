"""Redaction of keys and passwords in log messages."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

_SHORTEST = 6  # replacing shorter texts would eat ordinary words
_PATTERNS: tuple[re.Pattern[str], ...] = (
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),  # user:password, or a token, in a URL
    re.compile(r"(?i)(?<=bearer )[\w.~+/=-]{6,}"),
    re.compile(r"\b(?:sk|ghp|gho|ghs|glpat|xox[abp])[-_][\w-]{8,}"),
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
)
_HIDDEN = "[hidden]"


class Redactor:
    """Replaces known secrets, and what looks like one, in a text.

    A secret is found as it is, without the white space around it, quoted for a URL, escaped as in
    JSON and Python, in hexadecimal, and inside base64.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        # The longest first: a secret may begin with another one.
        self._secrets = sorted(forms, key=len, reverse=True)
        self._patterns = _PATTERNS

    @classmethod
    def of_secrets(cls, secrets: Iterable[str]) -> "Redactor":
        """Return one that leaves alone what only looks like a secret: programs may."""
        found = cls(secrets)
        found._patterns = ()
        return found

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        for pattern in self._patterns:
            text = pattern.sub(_HIDDEN, text)
        return text


def _forms(secret: str) -> Iterator[str]:
    bare = secret.strip()
    for text in {secret, bare, bare.strip("'\"")}:
        if len(text.strip()) >= _SHORTEST:
            yield from (text, quote(text), quote(text, safe=""), quote_plus(text))
            yield from (json.dumps(text)[1:-1], repr(text)[1:-1])
            yield from _binary_forms(text.encode("utf-8", "surrogatepass"))


def _binary_forms(data: bytes) -> Iterator[str]:
    yield from (data.hex(), data.hex().upper())
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # Characters that also hold bits of what stands before or after are left out.
            whole = encode(bytes(before) + data).decode()
            skipped = (before * 8 + 5) // 6
            kept = (before + len(data)) * 8 // 6
            if kept - skipped >= _SHORTEST:
                yield whole[skipped:kept]
