"""Red-team report: results as data, and the table of attacks for the documentation."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.redteam.attack import Attack, Finding, Verdict


@dataclass(frozen=True, slots=True)
class AttackResult:
    """One attack and its finding; ``gate_rules`` are the static gate's objections, if any."""

    attack: Attack
    finding: Finding
    seconds: float
    gate_rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RedTeamReport:
    """All results, and the layers that the attacks met."""

    results: tuple[AttackResult, ...]
    layers: IsolationReport
    seconds: float

    @property
    def failed(self) -> tuple[AttackResult, ...]:
        """What got through, and what proved nothing."""
        bad = {Verdict.BROKEN, Verdict.UNCLEAR}
        return tuple(result for result in self.results if result.finding.verdict in bad)

    @property
    def ok(self) -> bool:
        """Whether everything was held, but for ways that are documented for this machine."""
        return not self.failed

    def count_of(self, verdict: str) -> int:
        """How many attacks ended so."""
        return sum(result.finding.verdict == verdict for result in self.results)

    def layers_that_held(self) -> Sequence[tuple[str, int]]:
        """Layers and how many attacks each stopped, most first."""
        held = (r.finding.layer for r in self.results if r.finding.verdict is Verdict.HELD)
        return Counter(held).most_common()


def markdown_table(attacks: Iterable[Attack]) -> str:
    """The documentation's table: what is forbidden, and which layer is to stop it."""
    lines = ["| attack | it must not be possible to | stopped by |", "|---|---|---|"]
    for attack in attacks:
        layer = attack.layer
        if attack.documented_without:
            names = " and ".join(f"`{name}`" for name in attack.documented_without)
            layer += f" (open where {names} are off)"
        lines.append(f"| `{attack.theme}/{attack.name}` | {attack.what} | {layer} |")
    return "\n".join(lines) + "\n"
