"""Novelty check: refuses programs that were evaluated before, before they cost anything."""

import threading
from collections.abc import Mapping

from evocodec.domain.events import CodeWritten, Event
from evocodec.domain.program import ProgramFacts
from evocodec.search.facts import FactsOf, unknown_facts


class Novelty:
    """First candidate of each program, by the order of the ledger; thread-safe.

    With ``near``, programs that differ only in float constants, and there by less than their second
    significant digit, count as the same. Likeness of the text is no measure: one constant among
    thousands of lines can be the whole experiment. ``facts_of`` is called for programs that were
    recorded without facts, before the first result that depends on them.
    """

    def __init__(self, *, near: bool = False, facts_of: FactsOf = unknown_facts) -> None:
        self._near = near
        self._facts_of = facts_of
        # Candidates in flight ask while others report.
        self._lock = threading.Lock()
        self._count = 0
        self._owners: dict[str, tuple[int, str]] = {}
        self._without_facts: list[tuple[int, str, str]] = []

    def observe(self, event: Event) -> None:
        """Take in one event of the run, in the order of the ledger.

        Of two candidates in flight with one program, the first is the one that the ledger has
        first: it is decided when the event is recorded, and the same on every resume.
        """
        if not isinstance(event, CodeWritten):
            return
        with self._lock:
            self._count += 1
            if event.facts is None:
                written = (self._count, event.candidate_id, event.source_sha256)
                self._without_facts.append(written)
            else:
                self._claim(self._count, event.candidate_id, event.facts)

    def first_with(self, written: CodeWritten) -> str | None:
        """Return the candidate that had this recorded program before, or None.

        A candidate may have its own program again, in later attempts.
        """
        self._derive_missing()
        facts = written.facts or self._facts_of(written.source_sha256)
        with self._lock:
            _, owner = self._owners.get(self._digest(facts), (0, written.candidate_id))
        return None if owner == written.candidate_id else owner

    def owners(self) -> Mapping[str, str]:
        """The first candidate with each program, by the program's digest."""
        self._derive_missing()
        with self._lock:
            return {digest: owner for digest, (_, owner) in self._owners.items()}

    def _derive_missing(self) -> None:
        with self._lock:
            missing = tuple(self._without_facts)
        # Parsing takes time: other threads can report meanwhile.
        found = [(place, name, self._facts_of(sha256)) for place, name, sha256 in missing]
        with self._lock:
            for place, name, facts in found:
                self._claim(place, name, facts)
            derived = set(missing)
            self._without_facts = [entry for entry in self._without_facts if entry not in derived]

    def _claim(self, place: int, candidate_id: str, facts: ProgramFacts) -> None:
        digest = self._digest(facts)
        known = self._owners.get(digest)
        if known is None or place < known[0]:
            self._owners[digest] = (place, candidate_id)

    def _digest(self, facts: ProgramFacts) -> str:
        return facts.near_digest if self._near else facts.digest
