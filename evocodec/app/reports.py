"""What the faces get from the laboratory besides the ledger's views."""

from dataclasses import dataclass
from typing import Literal

from evocodec.app.report.model import Report
from evocodec.domain.results import RdCurve, Score
from evocodec.domain.video import StreamInfo


@dataclass(frozen=True, slots=True)
class AnchorReport:
    """One anchor on one clip."""

    curve: RdCurve
    operating_psnr_y_db: float
    cached: bool
    stream: StreamInfo


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """A program evaluated outside of a run."""

    label: str
    score: Score
    report: Report


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """A coded file; ``psnr_y_db`` is None when the result was not decoded again."""

    output: str
    writer: str
    stream: StreamInfo
    frames: int
    bits: int
    seconds: float
    psnr_y_db: float | None

    @property
    def bitrate_kbps(self) -> float:
        """Mean rate in kbit/s."""
        return self.bits * float(self.stream.fps) / self.frames / 1000.0

    @property
    def compression_ratio(self) -> float:
        """Raw bits over coded bits."""
        return self.stream.raw_bits / self.bits


@dataclass(frozen=True, slots=True)
class DecodeReport:
    """A decoded file."""

    output: str
    writer: str
    stream: StreamInfo
    frames: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor: what is, and what to do when it should be otherwise."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""
