"""Output types of the laboratory, besides the views of the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass

from evocodec.domain.results import Comparison, Metric, RdCurve, Score
from evocodec.domain.video import StreamInfo
from evocodec.report.model import Report


@dataclass(frozen=True, slots=True)
class AnchorReport:
    """One anchor, or a person's own encodes, on one clip, beside the clip's primary anchor.

    ``operating_ratio`` is its bits over the primary's at the operating quality, None where it does
    not reach that; ``equal_quality_ratio`` the same for a single file, at the file's own quality.
    ``comparisons`` are against the primary and empty for that itself. ``command`` makes one rate
    point. ``problem`` says why there is no curve, or no figure. ``notices`` say what was chosen or
    assumed in reading the clip.
    """

    curve: RdCurve
    operating_psnr_y_db: float
    cached: bool
    stream: StreamInfo
    clip_sha256: str
    primary: RdCurve
    base_name: str
    command: str
    operating_ratio: float | None
    equal_quality_ratio: float | None
    comparisons: Mapping[Metric, Comparison]
    problem: str = ""
    notices: tuple[str, ...] = ()

    @property
    def is_primary(self) -> bool:
        """Whether the others are compared with this one."""
        return self.curve is self.primary

    @property
    def cost(self) -> "AnchorCost":
        """Cost of all its points together."""
        return AnchorCost.of(self.curve)

    @property
    def primary_cost(self) -> "AnchorCost":
        """Cost of the primary anchor's points."""
        return AnchorCost.of(self.primary)


@dataclass(frozen=True, slots=True)
class AnchorCost:
    """CPU seconds a frame, means over rate points; None where they were not measured."""

    encode_cpu_seconds: float | None
    decode_cpu_seconds: float | None
    peak_memory_bytes: int

    @classmethod
    def of(cls, curve: RdCurve) -> "AnchorCost":
        """Sum up a curve's points."""
        costs = [point.cost for point in curve.points]
        frames = sum(cost.frames for cost in costs)
        encode = sum(cost.encode_cpu_seconds for cost in costs)
        decode = sum(cost.decode_cpu_seconds for cost in costs)
        return cls(
            encode_cpu_seconds=encode / frames if frames and encode else None,
            decode_cpu_seconds=decode / frames if frames and decode else None,
            peak_memory_bytes=max((cost.peak_memory_bytes for cost in costs), default=0),
        )


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """A program evaluated outside of a run."""

    label: str
    score: Score
    report: Report


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """A coded file; ``psnr_y_db`` is None when the result was not decoded again.

    ``notices`` say what was chosen or assumed in reading the source.
    """

    output: str
    writer: str
    stream: StreamInfo
    frames: int
    bits: int
    seconds: float
    psnr_y_db: float | None
    notices: tuple[str, ...] = ()

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
    """A decoded file, its size in bytes, and how large it might have been."""

    output: str
    writer: str
    stream: StreamInfo
    frames: int
    seconds: float
    output_bytes: int
    max_bytes: int
