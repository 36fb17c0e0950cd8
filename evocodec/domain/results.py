"""Results of an evaluation: rate points, curves, scores, costs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

HEVC_BITRATE_MBPS: Final = 10.0
"""Where HEVC lies on the scale of ``Score.bitrate_mbps``: 10 Mbit/s by definition."""


class Stage(StrEnum):
    """Evaluation stages, cheapest first; each may stop a candidate."""

    REVIEW = "review"
    SMOKE = "smoke"  # 3 frames: does it run, does it decode
    SCREEN = "screen"  # few frames, one rate, against the champion
    FULL = "full"  # all development clips, all rates
    HELD_OUT = "held_out"  # only when it would be adopted


class Track(StrEnum):
    """Coding structures, compared separately: random access, or low delay."""

    RANDOM_ACCESS = "random_access"
    LOW_DELAY = "low_delay"


class Metric(StrEnum):
    """Quality metrics that a curve can be read over; each rises with quality."""

    PSNR_Y = "psnr_y"  # dB
    PSNR_U = "psnr_u"  # dB
    PSNR_V = "psnr_v"  # dB
    PSNR_611 = "psnr_611"  # dB, (6·Y + U + V) / 8
    MS_SSIM = "ms_ssim"  # dB, −10·log10(1 − MS-SSIM)
    VMAF = "vmaf"  # 0…100
    VMAF_NEG = "vmaf_neg"  # 0…100, no enhancement gain


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over frames, in dB where the name says so; MS-SSIM in 0…1 or None when too small.

    ``vmaf`` and ``vmaf_neg`` are 0…100, None where they were not computed. ``worst_frame`` is the
    index of the frame with the lowest PSNR-Y. ``limited_frames`` lie so far above the sequence that
    they count less in PSNR-Y (``metrics.psnr.mean_psnr``); None in points of versions that counted
    them in full. ``vmaf_full_frames`` and ``vmaf_neg_full_frames`` reach the models' ceiling.
    """

    psnr_y_db: float
    psnr_u_db: float
    psnr_v_db: float
    psnr_611_db: float
    ms_ssim: float | None
    worst_frame_psnr_y_db: float
    worst_frame: int = 0
    vmaf: float | None = None
    vmaf_neg: float | None = None
    limited_frames: int | None = None
    vmaf_full_frames: int = 0
    vmaf_neg_full_frames: int = 0

    @property
    def ms_ssim_db(self) -> float | None:
        """MS-SSIM on the scale that curves are read over: −10·log10(1 − MS-SSIM), at most 100."""
        if self.ms_ssim is None:
            return None
        return min(100.0, -10.0 * math.log10(max(1.0 - self.ms_ssim, 1e-10)))

    def value(self, metric: Metric) -> float | None:
        """The mean of one metric in the unit that ``Metric`` states; None where there is none."""
        values = {
            Metric.PSNR_Y: self.psnr_y_db,
            Metric.PSNR_U: self.psnr_u_db,
            Metric.PSNR_V: self.psnr_v_db,
            Metric.PSNR_611: self.psnr_611_db,
            Metric.MS_SSIM: self.ms_ssim_db,
            Metric.VMAF: self.vmaf,
            Metric.VMAF_NEG: self.vmaf_neg,
        }
        return values[metric]


@dataclass(frozen=True, slots=True)
class FrameSeries:
    """One value a frame, in display order; empty where a metric was not computed.

    PSNR in dB; MS-SSIM in 0…1; VMAF 0…100.
    """

    psnr_y_db: tuple[float, ...]
    psnr_u_db: tuple[float, ...]
    psnr_v_db: tuple[float, ...]
    ms_ssim: tuple[float, ...] = ()
    vmaf: tuple[float, ...] = ()
    vmaf_neg: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """Resource use of a process, or of a job from its first line of code; measured outside it."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one rate point, encode and decode side by side; measured outside the candidate."""

    encode_wall_seconds: float = 0.0
    encode_cpu_seconds: float = 0.0
    decode_wall_seconds: float = 0.0
    decode_cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    frames: int = 0

    @classmethod
    def of(cls, encode: ResourceUse, decode: ResourceUse, frames: int) -> "Cost":
        """Return the cost of an encode and a decode; the memory is that of the larger one."""
        return cls(
            encode_wall_seconds=encode.wall_seconds,
            encode_cpu_seconds=encode.cpu_seconds,
            decode_wall_seconds=decode.wall_seconds,
            decode_cpu_seconds=decode.cpu_seconds,
            peak_memory_bytes=max(encode.peak_memory_bytes, decode.peak_memory_bytes),
            frames=frames,
        )


@dataclass(frozen=True, slots=True)
class RatePoint:
    """One encode and decode of one clip at one qp (crf for an anchor).

    ``series`` travels with a fresh measurement; what is kept in a ledger names its blob instead,
    by ``series_sha256``. ``verified``: two decodes in differing surroundings gave the same frames.
    """

    clip: str
    qp: float
    bits: int
    frames: int
    quality: Quality
    cost: Cost = field(default_factory=Cost)
    bitstream_sha256: str = ""
    series_sha256: str = ""
    series: FrameSeries | None = field(default=None, compare=False, repr=False)
    verified: bool = False


@dataclass(frozen=True, slots=True)
class RdCurve:
    """Rate points of one codec on one clip, sorted by bits, smallest first."""

    codec: str
    clip: str
    points: tuple[RatePoint, ...]


@dataclass(frozen=True, slots=True)
class BdRate:
    """Bjøntegaard delta rate in percent at equal PSNR-Y; negative means fewer bits than the anchor.

    ``overlap`` is the shared quality range over the anchor's range, 0…1.
    """

    akima_percent: float
    pchip_percent: float
    overlap: float


@dataclass(frozen=True, slots=True)
class Interval:
    """Confidence interval of ``level``, by a bootstrap over clips.

    ``low`` and ``high`` are in the figure's own unit; ``clips`` were resampled.
    """

    low: float
    high: float
    level: float
    clips: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A codec against one anchor on one clip at equal values of one metric.

    ``bd_rate`` is None when no comparison is possible, and ``problem`` says why in words; a
    problem beside a figure is a warning (curves that cross, Akima and PCHIP that disagree).
    """

    anchor: str
    clip: str
    metric: Metric
    bd_rate: BdRate | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ClipScore:
    """One clip: the curve, and the comparison with the anchor at the operating quality.

    ``operating_psnr_y_db`` is what the anchor reaches at 0.1608 bits a luma sample (10 Mbit/s at
    1080p30); ``rate_ratio`` is candidate bits over anchor bits there.
    """

    clip: str
    curve: RdCurve
    bd_rate: BdRate
    operating_psnr_y_db: float
    anchor_bits: float
    candidate_bits: float
    rate_ratio: float
    compression_ratio: float


@dataclass(frozen=True, slots=True)
class Score:
    """A full evaluation. ``bitrate_mbps`` is 10 × the geometric mean of ``rate_ratio`` over clips.

    HEVC is 10.00 by definition. ``compression_ratio`` is raw bits over candidate bits at the
    operating quality, all clips together. ``program_bytes`` is the source's size and
    ``packed_program_bytes`` its size compressed, weights included. The intervals are bootstraps
    over clips, None with a single clip. ``encode_time_ratio`` and ``decode_time_ratio`` are CPU
    seconds over the anchor's, measured on the same machine; None where they are not known.
    ``charged_program_bytes`` of the program are counted in every stream.
    """

    bitrate_mbps: float
    compression_ratio: float
    bd_rate_percent: float
    worst_clip: str
    worst_clip_ratio: float
    encode_fps: float
    decode_fps: float
    peak_memory_bytes: int
    program_bytes: int
    clips: tuple[ClipScore, ...]
    packed_program_bytes: int = 0
    bitrate_interval_mbps: Interval | None = None
    bd_rate_interval_percent: Interval | None = None
    encode_time_ratio: float | None = None
    decode_time_ratio: float | None = None
    charged_program_bytes: int = 0

    @property
    def verified(self) -> bool:
        """Whether every point of every curve was decoded twice, with the same frames."""
        return all(point.verified for clip in self.clips for point in clip.curve.points)


@dataclass(frozen=True, slots=True)
class ScreenResult:
    """Result of the screen against a reference candidate; ``rate_ratio`` < 1 means fewer bits.

    Estimated at equal quality by sliding along the anchor's local rate–quality slope.
    ``optimistic_rate_ratio`` is the lowest ratio that the full stage could plausibly find: only a
    candidate that could not win even there is dropped.
    """

    rate_ratio: float
    per_clip: Mapping[str, float]
    reference_id: str
    passed: bool
    reason: str
    optimistic_rate_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class HeldOutResult:
    """Result of the held-out gate: what remained of a gain on unseen clips.

    Gains are per cent fewer bits than ``compared_with``, at equal quality, on the development and
    on the held-out clips. ``seed_sha256`` names the secret draw without giving it away.
    ``nondeterministic``: a second decode of a held-out clip gave other frames. The bitrates are on
    the scale on which HEVC is 10.00, on the held-out and on the development clips;
    ``excess_percent`` is how many more bits the program needs on held-out clips than on the
    development clips that they come from, relative to HEVC on both.
    """

    passed: bool
    reason: str
    compared_with: str
    development_gain_percent: float
    held_out_gain_percent: float | None
    interval_percent: Interval | None
    clips: int
    seed_sha256: str
    nondeterministic: bool = False
    bitrate_mbps: float | None = None
    development_bitrate_mbps: float | None = None
    excess_percent: float | None = None


def proven_percent(improvement_percent: float | None, result: HeldOutResult | None) -> float | None:
    """Return the improvement to record: the smaller one of development and held-out clips."""
    if improvement_percent is None or result is None or not result.passed:
        return improvement_percent
    held_out = result.held_out_gain_percent
    return improvement_percent if held_out is None else min(improvement_percent, held_out)
