"""Attack types: an attack, what the trusted side observes of it, and the conclusion."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Literal

from evocodec.domain.candidate import Review
from evocodec.domain.errors import CandidateFailure
from evocodec.domain.video import Frame, StreamInfo
from evocodec.domain.vocabulary import AttackOutcome, Layer
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.policy import MEBIBYTE, Limits

HIDING_LAYERS = (Layer.PIVOT_ROOT, Layer.PATH_BROKER)
"""Layers that hide files from a job: one of them is enough."""

Operation = Literal["encode", "decode", "verify"]
"""``verify`` decodes the last packets once more, by another launcher, as adoption does."""

STREAM = StreamInfo(64, 48, Fraction(30), 2)
"""Format of the clip that attacks encode or decode."""

SMALL_LIMITS = Limits(
    wall_seconds=20,
    cpu_seconds=20,
    memory_bytes=512 * MEBIBYTE,
    output_bytes=4 * MEBIBYTE,
    processes=16,
    scratch_bytes=16 * MEBIBYTE,
    scratch_inodes=256,
    stderr_bytes=16 * 1024,
)
ROOMY_LIMITS = replace(SMALL_LIMITS, output_bytes=256 * MEBIBYTE, stderr_bytes=64 * 1024)
"""Where another limit than that of the output is to be met first."""


class Theme(StrEnum):
    """Target of an attack."""

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


@dataclass(frozen=True, slots=True)
class AttackFinding:
    """Conclusion of a check: the ``layer`` that held, or should have; ``detail`` is for people."""

    verdict: AttackOutcome
    layer: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class JobResult:
    """One encode or decode as the trusted side saw it; ``output`` is untrusted bytes."""

    operation: Operation
    seconds: float
    output: bytes = b""
    packets: tuple[bytes, ...] = ()
    frames: tuple[Frame, ...] = ()
    failure: CandidateFailure | None = None
    infrastructure: str = ""


@dataclass(frozen=True, slots=True)
class AttackObservation:
    """Everything that the trusted side knows after an attack.

    ``effects`` are traces found outside the sandbox. ``secret`` is what the attack should steal; it
    was never given to the attack. ``source`` is the clip that only encoders get.
    """

    jobs: tuple[JobResult, ...]
    effects: tuple[str, ...]
    secret: str
    source: tuple[Frame, ...]
    layers: IsolationReport
    gate: Review
    limits: Limits


AttackCheck = Callable[[AttackObservation], AttackFinding]


@dataclass(frozen=True, slots=True)
class Attack:
    """A candidate that tries one forbidden thing at run time, past the static gate.

    ``what`` completes the sentence "it must not be possible to …". ``program`` is the candidate's
    source; ``decoys.py`` lists its placeholders. ``steps`` are its jobs in order; a decode gets the
    packets of the last encode. ``layer`` is the layer that should stop it, and is reported if the
    refusal does not show it. ``documented_without``: if none of these layers is on, the attack is
    known to succeed; empty for nearly all. ``afterwards``: the attack runs after all others and
    looks for what they left. ``for_the_gate`` is the same program without the helpers, so that the
    static gate judges the attack alone; empty when both are the same.
    """

    name: str
    theme: Theme
    what: str
    program: str
    check: AttackCheck
    layer: str
    steps: tuple[Operation, ...] = ("encode",)
    limits: Limits = SMALL_LIMITS
    documented_without: tuple[Layer, ...] = ()
    afterwards: bool = False
    for_the_gate: str = ""
