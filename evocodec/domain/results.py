"""What an evaluation yields: rate points, curves, scores, and their cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """Evaluation stages, cheapest first; each may stop a candidate."""

    REVIEW = "review"
    SMOKE = "smoke"  # 3 frames: does it run, does it decode
    SCREEN = "screen"  # few frames, one rate, against the champion
    FULL = "full"  # all development clips, all rates
    HELD_OUT = "held_out"  # only when it would be adopted


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over frames, in dB where the name says so; MS-SSIM in 0…1 or None when too small."""

    psnr_y_db: float
    psnr_u_db: float
    psnr_v_db: float
    psnr_611_db: float
    ms_ssim: float | None
    worst_frame_psnr_y_db: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took to make one rate point, measured outside the candidate."""

    encode_wall_seconds: float = 0.0
    encode_cpu_seconds: float = 0.0
    decode_wall_seconds: float = 0.0
    decode_cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    frames: int = 0


@dataclass(frozen=True, slots=True)
class RatePoint:
    """One encode and decode of one clip at one qp (crf for an anchor)."""

    clip: str
    qp: float
    bits: int
    frames: int
    quality: Quality
    cost: Cost = field(default_factory=Cost)
    bitstream_sha256: str = ""


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
    operating quality, all clips together.
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


@dataclass(frozen=True, slots=True)
class ScreenResult:
    """The cheap comparison with a reference candidate; ``rate_ratio`` < 1 means fewer bits.

    Estimated at equal quality by sliding along the anchor's local rate–quality slope.
    """

    rate_ratio: float
    per_clip: Mapping[str, float]
    reference_id: str
    passed: bool
    reason: str
