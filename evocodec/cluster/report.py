"""Report of a cluster check."""

from dataclasses import dataclass

from evocodec.domain.check import Check, CheckState


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """All checks of one cluster."""

    server: str
    namespace: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed; warnings are allowed."""
        return self.count_of("fail") == 0

    def count_of(self, state: CheckState) -> int:
        """Return how many checks ended in this state."""
        return sum(check.state == state for check in self.checks)
