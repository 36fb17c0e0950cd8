"""Graph state that nodes hand on: ids and small facts; large data is in the store."""

from typing import Literal, TypedDict

Outcome = Literal[
    "",  # nothing decided yet
    "planned",
    "coded",
    "accepted",  # the review let it through
    "refused",  # the review did not; a coder may revise
    "failed",  # no program, or it failed when run; a coder may repair
    "screened_out",
    "evaluated",
    "adopt",
    "stale",  # another version was adopted meanwhile: judge again
    "adopted",
    "rejected",
]


class CandidateState(TypedDict, total=False):
    """State of one candidate in the graph."""

    candidate_id: str
    parent_id: str
    number: int
    attempt: int  # programs written so far, minus one
    revisions: int  # how often a review sent it back
    repairs: int  # how often a failure sent it back
    hopeless: bool  # the model said the same twice: it is not asked a third time
    continued: bool  # the ledger has that next attempt already: it was allowed when it began
    outcome: Outcome
    source_sha256: str
