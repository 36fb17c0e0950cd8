"""Findings of a cluster check: one line each, with what to do about it."""

from dataclasses import dataclass
from typing import Final, Literal

State = Literal["pass", "warn", "fail", "skip"]
STATES: Final[tuple[State, ...]] = ("pass", "warn", "fail", "skip")


@dataclass(frozen=True, slots=True)
class Finding:
    """One requirement of Evocodec, what was found, and what to do about it.

    ``detail`` may quote the API server and pods: show it, never interpret it.
    """

    name: str
    state: State
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """All findings about one cluster."""

    server: str
    namespace: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed; warnings are allowed."""
        return self.count_of("fail") == 0

    def count_of(self, state: State) -> int:
        """Return how many findings are in this state."""
        return sum(finding.state == state for finding in self.findings)
