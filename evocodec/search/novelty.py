"""Novelty check: refuses programs that were evaluated before, before they cost anything."""

import threading

from evocodec.codec.program import derive_facts


class Novelty:
    """Who was first with a program; any thread may call.

    With ``near``, programs that differ only in float constants, and there by less than their
    second significant digit, count as the same. Likeness of the text is no measure: one constant
    among thousands of lines can be the whole experiment.
    """

    def __init__(self, *, near: bool = False) -> None:
        self._near = near
        # Two candidates in flight must not both be first with one program.
        self._lock = threading.Lock()
        self._owners: dict[str, str] = {}

    def claim(self, candidate_id: str, source: str) -> str | None:
        """Claim a program; returns the other candidate that has it already, or None.

        A candidate may claim its own program again, and others in later attempts.
        """
        facts = derive_facts(source)
        digest = facts.near_digest if self._near else facts.digest
        with self._lock:
            owner = self._owners.setdefault(digest, candidate_id)
        return None if owner == candidate_id else owner
