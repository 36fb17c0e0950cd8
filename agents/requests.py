"""Requests to the four roles and their replies: frozen types without behaviour."""

from dataclasses import dataclass
from typing import Literal

from evocodec.codec.program import Program
from evocodec.domain.candidate import Finding, Plan


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One finished experiment, as the planner sees it.

    ``failure`` is a failure kind or empty; ``reason`` says in words how it ended.
    ``improvement_percent`` says how many fewer bits than ``compared_with``; negative for more.
    ``bitrate_mbps`` comes from a full evaluation, ``estimated_bitrate_mbps`` from a screen.
    """

    candidate_id: str
    status: str
    hypothesis: str
    edits: tuple[tuple[str, str], ...] = ()
    failure: str = ""
    reason: str = ""
    bitrate_mbps: float | None = None
    estimated_bitrate_mbps: float | None = None
    improvement_percent: float | None = None
    compared_with: str = ""


@dataclass(frozen=True, slots=True)
class RateRow:
    """One clip at one rate: quality, bits, and bits over those of others at that quality."""

    clip: str
    psnr_y_db: float
    bits: int
    hevc_ratio: float | None = None
    champion_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of a program: rates of each clip, and its slowest encode and decode."""

    rows: tuple[RateRow, ...] = ()
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Past:
    """What is known besides the last experiments.

    ``older`` sums up experiments before those of the history, ``earlier_runs`` those of other runs
    of the workspace; ``in_flight`` are hypotheses that are being tried now; ``last_adoption`` is
    what the newest version changed, as a difference.
    """

    older: tuple[str, ...] = ()
    earlier_runs: tuple[HistoryItem, ...] = ()
    in_flight: tuple[str, ...] = ()
    last_adoption: str = ""


@dataclass(frozen=True, slots=True)
class Parent:
    """The program that a candidate starts from; no bitrate when it was never measured."""

    candidate_id: str
    program: Program
    bitrate_mbps: float | None = None


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """Request to the planner for one hypothesis; ``champion`` is a text."""

    run_id: str
    candidate_id: str
    number: int
    parent: Parent
    champion: str
    history: tuple[HistoryItem, ...] = ()
    imports: tuple[str, ...] = ()
    seed: int = 0
    measured: Measured = Measured()
    past: Past = Past()


@dataclass(frozen=True, slots=True)
class Feedback:
    """Reason why the previous attempt failed; ``detail`` is untrusted text."""

    kind: Literal["review", "failure", "duplicate", "no_code"]
    message: str
    detail: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class EarlierReply:
    """A coder's reply that gave no program; one that was cut off is not whole."""

    text: str
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """Request to the coder for a program; attempt 0 is the first, later ones carry feedback.

    ``replies`` are its own, oldest first, since the last one that yielded a program.
    """

    run_id: str
    candidate_id: str
    attempt: int
    plan: Plan
    parent: Parent
    previous_program: Program | None = None
    feedback: Feedback | None = None
    replies: tuple[EarlierReply, ...] = ()
    champion: str = ""


@dataclass(frozen=True, slots=True)
class CodeReply:
    """A program, a short note on how it came about, and the model that wrote it; empty for none."""

    program: Program
    note: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """Request to review a program; ``is_baseline``: one that the run starts from."""

    run_id: str
    candidate_id: str
    attempt: int
    program: Program
    plan: Plan
    is_baseline: bool = False
    parent: Program | None = None
