"""The step budget of a review: a deterministic limit on its work."""

MOST_STEPS = 2_000_000
"""Steps of one review. 256 KiB of ordinary code need about a tenth of that."""

MOST_NODES = 80_000
"""Names, constants, operations and statements of one program. 256 KiB of ordinary code have about
half of that; what has more is a table, and belongs into a string of bytes."""

MOST_FUNCTIONS = 4_000
"""Functions, classes and comprehensions. Python compares each of them with all before."""


class ReviewLimitError(Exception):
    """A program that cannot be reviewed within its limits; the message says which, for its author.

    It never leaves the review, which makes a finding of it.
    """


class StepBudget:
    """Counts steps of equal, small cost; the same program always takes the same number."""

    def __init__(self, steps: int = MOST_STEPS) -> None:
        self._most = steps
        self.used = 0

    def spend(self, steps: int = 1) -> None:
        """Count steps; raises ReviewLimitError when there are too many."""
        self.used += steps
        if self.used > self._most:
            raise ReviewLimitError(
                f"reading its names takes more than {self._most} steps; use fewer names for "
                f"parts of libraries"
            )
