"""Facts of programs by hash, derived from the text where a ledger has none."""

import threading
from collections.abc import Callable, Iterator, Mapping

from evocodec.domain.program import ProgramFacts

FactsOf = Callable[[str], ProgramFacts]
"""From the SHA-256 of a program's text to its facts."""


def unknown_facts(sha256: str) -> ProgramFacts:
    """Answer for an archive that was given no programs; raises LookupError."""
    raise LookupError(f"the program {sha256[:12]} has no facts in the ledger, and no text here")


class FactsOfOldPrograms:
    """Facts of programs that were recorded without facts; each is derived once, when needed.

    ``read`` returns the text of a program by its SHA-256, ``derive`` parses it. Any thread may
    call.
    """

    def __init__(self, read: Callable[[str], str], derive: Callable[[str], ProgramFacts]) -> None:
        self._read = read
        self._derive = derive
        # Archive and novelty ask for the same program: it is parsed once.
        self._lock = threading.Lock()
        self._known: dict[str, ProgramFacts] = {}

    def __call__(self, sha256: str) -> ProgramFacts:
        """Return the facts, parsing the program at its first use."""
        with self._lock:
            found = self._known.get(sha256)
            if found is None:
                found = self._known[sha256] = self._derive(self._read(sha256))
            return found


class LazyValues(Mapping[str, str]):
    """Values of tunables, derived when they are first read."""

    __slots__ = ("_derive", "_values")

    def __init__(self, derive: Callable[[], Mapping[str, str]]) -> None:
        self._derive = derive
        self._values: Mapping[str, str] | None = None

    def _found(self) -> Mapping[str, str]:
        if self._values is None:
            self._values = self._derive()
        return self._values

    def __getitem__(self, name: str) -> str:
        return self._found()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())
