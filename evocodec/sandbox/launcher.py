"""Launcher contract: runs an encode or a decode of a candidate in a fresh sandbox."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from evocodec.domain.video import Frame, StreamInfo
from evocodec.sandbox.policy import Floor, Limits

OnPacket: TypeAlias = Callable[[int, bytes], None]
OnFrame: TypeAlias = Callable[[int, Frame], None]


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """What a job took, measured outside it; the wall time runs from its first line of code."""

    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """The packets of one encode, in the order they were yielded; untrusted bytes.

    None are here when they were handed to ``on_packet``.
    """

    packets: tuple[bytes, ...]
    use: ResourceUse


@dataclass(frozen=True, slots=True)
class Decoded:
    """The frames of one decode: exactly ``frame_count``, right shape and type, read-only.

    None are here when they were handed to ``on_frame``.
    """

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

    ``frames`` and ``packets`` are iterated once for every try; ``on_packet`` and ``on_frame`` are
    called in the caller's thread with an index from 0, and from 0 again when a job that was lost
    through our fault is repeated. What the caller's iterators and callbacks raise ends the job.
    """

    def encode(
        self,
        program: str,
        frames: Iterable[Frame],
        stream: StreamInfo,
        qp: float,
        limits: Limits,
        *,
        on_packet: OnPacket | None = None,
    ) -> Encoded:
        """Run the program's ``encode`` over the frames; ValueError if they are not the stream's."""
        ...

    def decode(
        self,
        program: str,
        packets: Iterable[bytes],
        stream: StreamInfo,
        limits: Limits,
        *,
        on_frame: OnFrame | None = None,
    ) -> Decoded:
        """Run the program's ``decode`` with nothing but the packets and the stream's facts."""
        ...

    def describe(self) -> IsolationReport:
        """The layers that a job of this launcher runs behind."""
        ...

    def close(self) -> None:
        """Stop everything this launcher started; calling it twice is fine."""
        ...
