"""Candidates: origin, plan, program, review, verdict and status."""

from dataclasses import dataclass
from enum import StrEnum

from evocodec.domain.vocabulary import GateRule, ReviewerName, VerdictRule


class Origin(StrEnum):
    """Author of the program."""

    SEED = "seed"
    MUTATION = "mutation"  # the built-in proposer: no language model
    MODEL = "model"
    REPLAY = "replay"  # recorded replies of an earlier run
    SUBMITTED = "submitted"  # a person or an agent from outside


class CandidateStatus(StrEnum):
    """End of a candidate: the three values of the experiment record, and ``running``."""

    RUNNING = "running"
    ADOPTED = "adopted"
    REJECTED = "rejected"
    TEST_FAILED = "test_failed"


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan: a hypothesis, the steps, and (for mutations) exact edits."""

    hypothesis: str
    steps: tuple[str, ...] = ()
    edits: tuple[tuple[str, str], ...] = ()  # (constant name, new expression)
    origin: Origin = Origin.MODEL


@dataclass(frozen=True, slots=True)
class Finding:
    """One objection of a reviewer; ``line`` is 1-based, 0 when it concerns the whole file."""

    rule: GateRule
    message: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Review:
    """A reviewer's answer; accepted exactly when there is no finding."""

    findings: tuple[Finding, ...] = ()
    reviewer: ReviewerName = ReviewerName.STATIC

    @property
    def accepted(self) -> bool:
        """Whether the program may run."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge's decision by rule, with its reason as text.

    ``improvement_percent``: how many per cent fewer bits than ``compared_with`` (more is better).
    """

    adopt: bool
    rule: VerdictRule
    reason: str
    compared_with: str
    improvement_percent: float | None = None
    bitrate_mbps: float | None = None
    compression_ratio: float | None = None
