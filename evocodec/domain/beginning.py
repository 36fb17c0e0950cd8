"""Facts of how a run began: what a resume keeps, where it runs, and what it may spend."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool | None
Section: TypeAlias = Mapping[str, Scalar | tuple[Scalar, ...]]
"""One section of the settings by name, as plain JSON: the section's own type reads it back."""


@dataclass(frozen=True, slots=True)
class FixedSettings:
    """Settings that a resumed run keeps from its beginning, even if they have changed since.

    ``held_out`` and ``limits`` are None in runs that began before these existed.
    """

    seed: int
    evaluation: Section
    judge: Section
    held_out: Section | None = None
    limits: Section | None = None


@dataclass(frozen=True, slots=True)
class SubmittedProgram:
    """A program from outside, by the name of its blob, and what its author says of it."""

    sha256: str
    note: str


@dataclass(frozen=True, slots=True)
class Beginning:
    """Everything that a resume needs to continue the run unchanged.

    ``baselines`` are the SHA-256 of the programs that open the run. ``held_out_secret`` is that of
    what the held-out clips are drawn from; empty where none are.
    """

    fixed: FixedSettings
    baselines: tuple[str, ...]
    submission: SubmittedProgram | None = None
    held_out_secret: str = ""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """Location of a run's tasks; the address is empty for a cluster of its own."""

    address: str = ""
    dashboard_url: str = ""
    cpus: float = 0.0
    gpus: float = 0.0
    gpus_per_task: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelBudget:
    """Spending limits of a run on models; 0 is no limit."""

    usd: float = 0.0
    tokens: int = 0
