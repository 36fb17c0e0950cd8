"""Attack types: an attack, what the trusted side observes of it, and the conclusion."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Literal

from evocodec.domain.candidate import Review
from evocodec.domain.errors import CandidateFailure
from evocodec.domain.video import Frame, StreamInfo
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.policy import MEBIBYTE, Limits

VIEWS = ("pivot_root", "path_broker")
"""The layers that hide from a job that a file exists; either does."""

Operation = Literal["encode", "decode", "verify"]
"""``verify`` decodes the last packets once more, by another launcher, as adoption does."""

STREAM = StreamInfo(64, 48, Fraction(30), 2)
"""What attacks are given to encode or decode."""

SMALL_LIMITS = Limits(
    wall_seconds=20,
    cpu_seconds=20,
    memory_bytes=512 * MEBIBYTE,
    output_bytes=4 * MEBIBYTE,
    stderr_bytes=16 * 1024,
)


class Theme(StrEnum):
    """What an attack is after."""

    NETWORK = "network"
    FILES = "files"
    PROCESSES = "processes"
    MEMORY = "memory"
    TIME = "time"
    KERNEL = "kernel"
    RESULTS = "results"
    PERSISTENCE = "persistence"
    INTROSPECTION = "introspection"
    CHEATING = "cheating"


class Verdict(StrEnum):
    """How an attack ended.

    ``unclear`` means that it was not mounted as intended: nothing was proven, so it counts as a
    failure of the suite. ``documented`` is a way through that is known to need a layer which this
    machine lacks, and is written down as such.
    """

    HELD = "held"
    BROKEN = "BROKEN"
    UNCLEAR = "unclear"
    DOCUMENTED = "documented"


@dataclass(frozen=True, slots=True)
class Finding:
    """A judge's conclusion: ``layer`` held, or would have had to; ``detail`` is what was seen."""

    verdict: Verdict
    layer: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class JobResult:
    """One encode or decode, as the trusted side saw it; ``said`` are untrusted bytes."""

    operation: Operation
    seconds: float
    said: bytes = b""
    packets: tuple[bytes, ...] = ()
    frames: tuple[Frame, ...] = ()
    failure: CandidateFailure | None = None
    infrastructure: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that the trusted side knows after an attack.

    ``effects`` are traces found outside the sandbox, ``secret`` is what the attack was to steal and
    was never told, ``source`` the clip that only encoders are given.
    """

    jobs: tuple[JobResult, ...]
    effects: tuple[str, ...]
    secret: str
    source: tuple[Frame, ...]
    layers: IsolationReport
    gate: Review
    limits: Limits


Judge = Callable[[Observation], Finding]


@dataclass(frozen=True, slots=True)
class Attack:
    """A candidate that tries one forbidden thing at run time, past the static gate.

    ``what`` completes the sentence "it must not be possible to …". ``program`` is the candidate's
    source; ``bait.py`` lists the placeholders in it. ``steps`` are its jobs, in order, and the
    packets of the last encode go to a decode. ``layer`` is what should hold, and is reported where
    the refusal itself does not tell. ``documented_without`` names layers without any of which the
    attack is known to succeed; empty for nearly all. ``afterwards``: it looks at what all others
    left. ``for_the_gate`` is the same program without the helpers, so that the static gate judges
    the attack and not what surrounds it; empty when they are the same.
    """

    name: str
    theme: Theme
    what: str
    program: str
    judge: Judge
    layer: str
    steps: tuple[Operation, ...] = ("encode",)
    limits: Limits = SMALL_LIMITS
    documented_without: tuple[str, ...] = ()
    afterwards: bool = False
    for_the_gate: str = ""
