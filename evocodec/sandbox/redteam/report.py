"""Red-team report: results as data, and the table of attacks for the documentation."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evocodec.domain.vocabulary import AttackOutcome
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.redteam.attack import Attack, AttackFinding
from evocodec.sandbox.redteam.capacity import Channel, ChannelResult


@dataclass(frozen=True, slots=True)
class AttackResult:
    """One attack and its finding; ``gate_rules``: rules of the static gate that it breaks."""

    attack: Attack
    finding: AttackFinding
    seconds: float
    gate_rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RedTeamReport:
    """All results, the isolation layers that were on, and the channels that were measured."""

    results: tuple[AttackResult, ...]
    layers: IsolationReport
    seconds: float
    channels: tuple[ChannelResult, ...] = ()

    @property
    def failed(self) -> tuple[AttackResult, ...]:
        """Attacks that got through, and attacks that proved nothing."""
        bad = {AttackOutcome.BROKEN, AttackOutcome.UNCLEAR}
        return tuple(result for result in self.results if result.finding.verdict in bad)

    @property
    def ok(self) -> bool:
        """Whether every attack was held or is documented to succeed here, and so every channel."""
        broken = AttackOutcome.BROKEN
        return not self.failed and all(one.verdict is not broken for one in self.channels)

    def count_of(self, verdict: AttackOutcome) -> int:
        """Return the number of attacks with this outcome."""
        return sum(result.finding.verdict == verdict for result in self.results)

    def layers_that_held(self) -> Sequence[tuple[str, int]]:
        """Return layers and the number of attacks that each stopped, highest first."""
        held = (r.finding.layer for r in self.results if r.finding.verdict is AttackOutcome.HELD)
        return Counter(held).most_common()


def channel_table(channels: Iterable[Channel]) -> str:
    """Return the table for the documentation: what an encoder could do, and how much it may say."""
    lines = ["| channel | an encoder could | bits an encode that are accepted |", "|---|---|---:|"]
    for channel in channels:
        limit = f"{channel.limit_bits:g}" if channel.limit_bits else "0: closed"
        lines.append(f"| `capacity/{channel.name}` | {channel.what} | {limit} |")
    return "\n".join(lines) + "\n"


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
