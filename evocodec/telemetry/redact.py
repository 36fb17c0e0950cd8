"""Redaction of keys and passwords in log messages."""

import re
from collections.abc import Iterable

_SHORTEST = 6  # replacing shorter texts would eat ordinary words
_PATTERNS = (
    re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"),  # user:password in a URL
    re.compile(r"(?i)(?<=bearer )[\w.~+/=-]{6,}"),
    re.compile(r"\b(?:sk|ghp|gho|ghs|glpat|xox[abp])[-_][\w-]{8,}"),
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
)
_HIDDEN = "[hidden]"


class Redactor:
    """Replaces known secrets, and what looks like one, in a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: a secret may begin with another one.
        self._secrets = sorted({s for s in secrets if len(s) >= _SHORTEST}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        for pattern in _PATTERNS:
            text = pattern.sub(_HIDDEN, text)
        return text
