"""Launcher contract: runs an encode or a decode of a candidate in a fresh sandbox."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from evocodec.domain.results import ResourceUse
from evocodec.domain.video import Frame, StreamInfo
from evocodec.sandbox.policy import Floor, Limits

OnPacket: TypeAlias = Callable[[int, bytes], None]
OnFrame: TypeAlias = Callable[[int, Frame], None]


@dataclass(frozen=True, slots=True)
class EncodedPackets:
    """Packets of one encode, in the order in which they were yielded; untrusted bytes.

    Empty when the packets were passed to ``on_packet``.
    """

    packets: tuple[bytes, ...]
    use: ResourceUse


@dataclass(frozen=True, slots=True)
class DecodedFrames:
    """Frames of one decode: exactly ``frame_count``, with the right shape and dtype, read-only.

    Empty when the frames were passed to ``on_frame``.
    """

    frames: tuple[Frame, ...]
    use: ResourceUse


@dataclass(frozen=True, slots=True)
class IsolationReport:
    """Isolation layers of a job: layer → ``on``, ``abi N`` or ``off: reason``."""

    layers: Mapping[str, str]

    def holds(self, layer: str) -> bool:
        """Whether ``layer`` is in force."""
        return not self.layers.get(layer, "off").startswith("off")

    def missing_for(self, floor: Floor) -> tuple[str, ...]:
        """Return the layers that the floor asks for and that are off; empty when all hold."""
        return tuple(
            " or ".join(sorted(alternatives))
            for alternatives in floor
            if not any(self.holds(layer) for layer in alternatives)
        )

    @classmethod
    def weakest(cls, reports: Mapping[str, "IsolationReport"]) -> "IsolationReport":
        """Return what holds in all of several launchers, by their names; ``off`` names the one."""
        names = iter(reports)
        layers = dict(reports[next(names)].layers)
        for name in names:
            for layer in {**layers, **reports[name].layers}:
                if layers.get(layer, "off").startswith("off"):
                    layers.setdefault(layer, "off")
                elif not reports[name].holds(layer):
                    state = reports[name].layers.get(layer, "off")
                    layers[layer] = f"{state} (in the launcher that {name})"
        return cls(layers)


class Launcher(Protocol):
    """Runs untrusted programs.

    Every method may be called from several threads at a time. ``encode`` and ``decode`` raise
    CandidateFailure when the program is to blame, and InfrastructureFailure when it is not.

    ``frames`` and ``packets`` are iterated once per try. ``on_packet`` and ``on_frame`` are called
    in the caller's thread with an index from 0; the index starts at 0 again when a job is repeated
    because it was lost through our fault. An exception of the caller's iterators or callbacks ends
    the job.
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
    ) -> EncodedPackets:
        """Run the program's ``encode``; raises ValueError if the frames do not fit ``stream``."""
        ...

    def decode(
        self,
        program: str,
        packets: Iterable[bytes],
        stream: StreamInfo,
        limits: Limits,
        *,
        on_frame: OnFrame | None = None,
    ) -> DecodedFrames:
        """Run the program's ``decode``; it gets the packets and the stream's parameters only."""
        ...

    def describe(self) -> IsolationReport:
        """Return the isolation layers of the jobs of this launcher."""
        ...

    def close(self) -> None:
        """Stop everything that this launcher started; may be called twice."""
        ...
