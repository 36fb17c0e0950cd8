"""The contract of whatever runs candidates: encode and decode, each in a fresh sandbox."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from evocodec.domain.video import Frame, StreamInfo
from evocodec.sandbox.policy import Floor, Limits


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """What a job took, measured outside it; the wall time runs from its first line of code."""

    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """The packets of one encode, in the order they were yielded; untrusted bytes."""

    packets: tuple[bytes, ...]
    use: ResourceUse


@dataclass(frozen=True, slots=True)
class Decoded:
    """The frames of one decode: exactly ``frame_count``, right shape and type, read-only."""

    frames: tuple[Frame, ...]
    use: ResourceUse


@dataclass(frozen=True, slots=True)
class IsolationReport:
    """Which layers a job really runs behind: layer → ``on``, ``abi N`` or ``off: reason``."""

    layers: Mapping[str, str]

    def holds(self, layer: str) -> bool:
        """Whether ``layer`` is in force."""
        return not self.layers.get(layer, "off").startswith("off")

    def missing_for(self, floor: Floor) -> tuple[str, ...]:
        """What the floor asks for and is not there, in words; empty when the floor is met."""
        return tuple(
            " or ".join(sorted(alternatives))
            for alternatives in floor
            if not any(self.holds(layer) for layer in alternatives)
        )


class Launcher(Protocol):
    """Runs programs it does not trust.

    Every method may be called from several threads at a time. ``encode`` and ``decode`` raise
    CandidateFailure when the program is to blame and InfrastructureFailure when it is not.
    """

    def encode(
        self, program: str, frames: Sequence[Frame], stream: StreamInfo, qp: float, limits: Limits
    ) -> Encoded:
        """Run the program's ``encode`` over the frames."""
        ...

    def decode(
        self, program: str, packets: Sequence[bytes], stream: StreamInfo, limits: Limits
    ) -> Decoded:
        """Run the program's ``decode`` with nothing but the packets and the stream's facts."""
        ...

    def describe(self) -> IsolationReport:
        """The layers that a job of this launcher runs behind."""
        ...

    def close(self) -> None:
        """Stop everything this launcher started; calling it twice is fine."""
        ...
