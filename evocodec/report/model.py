"""Report model: codecs, curves, comparisons, pictures and facts, for every output format."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from evocodec.domain.results import (
    Comparison,
    Cost,
    FrameSeries,
    Interval,
    Metric,
    Quality,
    RdCurve,
    Score,
)
from evocodec.domain.video import StreamInfo
from evocodec.report.pareto import TradeOff

SCHEMA = "evocodec.report/1"
"""Names the layout of the JSON and of the CSV columns; fields are only ever added to a version."""


class Kind(StrEnum):
    """Kind of a compared codec."""

    PROGRAM = "program"
    ANCHOR = "anchor"
    FILE = "file"  # a stream that another encoder made


@dataclass(frozen=True, slots=True)
class ReportedProgram:
    """The program itself: SHA-256 of its source, and sizes in bytes.

    ``charged_bytes`` of the packed program are counted in every stream.
    """

    sha256: str
    source_bytes: int
    packed_bytes: int
    lines: int
    charged_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Codec:
    """One side of a comparison, with its curve on every clip that it was measured on.

    ``command`` is how an anchor was made, with the rate and the picture's size left open. The time
    ratios are a program's CPU seconds over the primary anchor's, which was run beside it for that;
    None where they are not known. ``held_out_bitrate_mbps`` is what the run that a program comes
    from measured on held-out clips, on the scale on which HEVC is 10.
    """

    name: str
    kind: Kind
    curves: Mapping[str, RdCurve]
    command: str = ""
    program: ReportedProgram | None = None
    encode_time_ratio: float | None = None
    decode_time_ratio: float | None = None
    held_out_bitrate_mbps: float | None = None

    @property
    def cost(self) -> Cost:
        """All its rate points together; memory is the highest of any."""
        costs = [point.cost for curve in self.curves.values() for point in curve.points]
        return Cost(
            encode_wall_seconds=math.fsum(cost.encode_wall_seconds for cost in costs),
            encode_cpu_seconds=math.fsum(cost.encode_cpu_seconds for cost in costs),
            decode_wall_seconds=math.fsum(cost.decode_wall_seconds for cost in costs),
            decode_cpu_seconds=math.fsum(cost.decode_cpu_seconds for cost in costs),
            peak_memory_bytes=max((cost.peak_memory_bytes for cost in costs), default=0),
            frames=sum(cost.frames for cost in costs),
        )


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """A clip, and the point at which everything is compared on it.

    ``operating_psnr_y_db`` is what the primary anchor reaches at 0.1608 bits a luma sample.
    """

    name: str
    stream: StreamInfo
    sha256: str
    origin: str
    licence: str
    operating_psnr_y_db: float

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.stream.frame_count / float(self.stream.fps)


@dataclass(frozen=True, slots=True)
class Coded:
    """One codec's rendering of one clip at the rate at which frames are shown."""

    codec: str
    qp: float
    bits: int
    quality: Quality
    series: FrameSeries


@dataclass(frozen=True, slots=True)
class FrameCrops:
    """Crops of one frame as PNG: source, reference, subject, and the subject's error.

    ``window`` is (x, y, width, height) in luma samples of the whole picture.
    """

    frame: int
    why: str
    window: tuple[int, int, int, int]
    source: bytes = field(repr=False)
    reference: bytes = field(repr=False)
    subject: bytes = field(repr=False)
    error: bytes = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """All four images."""
        return sum(map(len, (self.source, self.reference, self.subject, self.error)))


@dataclass(frozen=True, slots=True)
class View:
    """A clip as both codecs render it at nearly the same rate."""

    clip: str
    reference: Coded
    subject: Coded
    pictures: tuple[FrameCrops, ...]


@dataclass(frozen=True, slots=True)
class Environment:
    """Machine and software of the measurement."""

    measured_at: str
    command: str
    machine: str
    versions: Mapping[str, str]
    isolation: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean BD-rate over the clips that could be compared, with its interval."""

    percent: float
    interval: Interval | None
    clips: int


@dataclass(frozen=True, slots=True)
class Report:
    """A subject against references, over clips and metrics.

    ``score`` is the subject's against the primary anchor, None for an anchor itself. The first
    reference is the one that pictures and costs are set against. ``trade_offs`` has CPU time as its
    decode time, and BD-rates against that reference.
    """

    title: str
    subject: Codec
    references: tuple[Codec, ...]
    clips: tuple[ClipFacts, ...]
    metrics: tuple[Metric, ...]
    comparisons: tuple[Comparison, ...]
    score: Score | None
    environment: Environment
    confidence: float
    notices: tuple[str, ...] = ()
    views: tuple[View, ...] = ()
    difference: str = ""
    trade_offs: tuple[TradeOff, ...] = ()
    means: Mapping[tuple[str, Metric], Mean] = field(default_factory=dict)

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """The subject and everything it is set against."""
        return (self.subject, *self.references)

    def clip(self, name: str) -> ClipFacts:
        """The clip of that name."""
        return next(clip for clip in self.clips if clip.name == name)

    def comparison(self, reference: str, clip: str, metric: Metric) -> Comparison | None:
        """The subject against one reference on one clip, None where the clip has none of it."""
        for found in self.comparisons:
            if (found.anchor, found.clip, found.metric) == (reference, clip, metric):
                return found
        return None

    def mean(self, reference: str, metric: Metric) -> Mean | None:
        """The mean BD-rate against one reference, None where no clip could be compared."""
        return self.means.get((reference, metric))

    @property
    def problems(self) -> tuple[Comparison, ...]:
        """Comparisons that are impossible, or to be read with care."""
        return tuple(found for found in self.comparisons if found.problem)


def frame_values(series: FrameSeries, metric: Metric) -> Sequence[float]:
    """One metric's values, frame by frame; empty where it was not computed."""
    if metric is Metric.PSNR_611:
        planes = zip(series.psnr_y_db, series.psnr_u_db, series.psnr_v_db, strict=True)
        return tuple((6 * y + u + v) / 8 for y, u, v in planes)
    if metric is Metric.MS_SSIM:
        return tuple(-10 * math.log10(max(1 - value, 1e-10)) for value in series.ms_ssim)
    return {
        Metric.PSNR_Y: series.psnr_y_db,
        Metric.PSNR_U: series.psnr_u_db,
        Metric.PSNR_V: series.psnr_v_db,
        Metric.VMAF: series.vmaf,
        Metric.VMAF_NEG: series.vmaf_neg,
    }[metric]
