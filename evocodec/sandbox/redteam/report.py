"""Red-team report: results as data, and the table of attacks for the documentation."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.redteam.attack import Attack, AttackFinding, AttackOutcome


@dataclass(frozen=True, slots=True)
class AttackResult:
    """One attack and its finding; ``gate_rules``: rules of the static gate that it breaks."""

    attack: Attack
    finding: AttackFinding
    seconds: float
    gate_rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RedTeamReport:
    """All results, and the isolation layers that were on."""

    results: tuple[AttackResult, ...]
    layers: IsolationReport
    seconds: float

    @property
    def failed(self) -> tuple[AttackResult, ...]:
        """Attacks that got through, and attacks that proved nothing."""
        bad = {AttackOutcome.BROKEN, AttackOutcome.UNCLEAR}
        return tuple(result for result in self.results if result.finding.verdict in bad)

    @property
    def ok(self) -> bool:
        """Whether every attack was held, or is documented to succeed on this machine."""
        return not self.failed

    def count_of(self, verdict: str) -> int:
        """Return the number of attacks with this outcome."""
        return sum(result.finding.verdict == verdict for result in self.results)

    def layers_that_held(self) -> Sequence[tuple[str, int]]:
        """Return layers and the number of attacks that each stopped, highest first."""
        held = (r.finding.layer for r in self.results if r.finding.verdict is AttackOutcome.HELD)
        return Counter(held).most_common()


def markdown_table(attacks: Iterable[Attack]) -> str:
    """Return the table for the documentation: what is forbidden, and which layer stops it."""
    lines = ["| attack | it must not be possible to | stopped by |", "|---|---|---|"]
    for attack in attacks:
        layer = attack.layer
        if attack.documented_without:
            names = " and ".join(f"`{name}`" for name in attack.documented_without)
            layer += f" (open where {names} are off)"
        lines.append(f"| `{attack.theme}/{attack.name}` | {attack.what} | {layer} |")
    return "\n".join(lines) + "\n"
