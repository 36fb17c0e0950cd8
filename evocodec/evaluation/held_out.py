"""Held-out material: clips drawn for one decision, their anchors, and gains measured on them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evocodec.codec.contract import QP_MAX, QP_MIN
from evocodec.curves.rd_curve import bits_at_quality
from evocodec.domain.errors import SourceError
from evocodec.domain.results import RatePoint, RdCurve
from evocodec.video.clips import Clip
from evocodec.video.derived import derive_clip

AnchorOf = Callable[[Clip], tuple[RdCurve, float]]
"""A clip's anchor curve and operating quality in dB; SourceError when it has none."""

MAX_OPERATING_DB = 52.0
"""Beyond this an 8-bit clip is all but lossless at the operating rate: nothing to compare."""

_MAX_REDRAWS = 16
_STEP_QP = 4.0
_MAX_POINTS = 7


@dataclass(frozen=True, slots=True)
class HeldOutClip:
    """A clip that no agent knows, with the bits that HEVC needs for it.

    ``derived_from`` names the development clip that it was made of, empty for a clip of its own:
    the rates that suited that one suit this one.
    """

    clip: Clip
    anchor: RdCurve
    operating_psnr_y_db: float
    derived_from: str = ""

    @property
    def anchor_bits(self) -> float:
        """Bits of the anchor at the operating quality."""
        return bits_at_quality(self.anchor, self.operating_psnr_y_db)


def seed_name(seed: bytes) -> str:
    """SHA-256 of a seed: what may be published before the seed itself is."""
    return hashlib.sha256(seed).hexdigest()


def draw_clips(
    pool: Sequence[Clip],
    seed: bytes,
    *,
    count: int,
    frames: int,
    anchor_of: AnchorOf,
    start: int = 0,
) -> tuple[HeldOutClip, ...]:
    """Derive ``count`` usable clips, from as many different sources as there are.

    ``start`` is how many of this seed were drawn before. A clip on which the anchor does not reach
    the operating rate from both sides is drawn again. Raises ``SourceError`` when a source yields
    none.
    """
    name = seed_name(seed)
    first = int(name[:8], 16)
    return tuple(
        _draw(pool[(first + index) % len(pool)], seed, index, frames, f"held-{name[:8]}", anchor_of)
        for index in range(start, start + count)
    )


def _draw(
    source: Clip, seed: bytes, index: int, frames: int, prefix: str, anchor_of: AnchorOf
) -> HeldOutClip:
    problem = ""
    for attempt in range(_MAX_REDRAWS):
        clip = derive_clip(
            [source], seed, index, frames=frames, attempt=attempt, name=f"{prefix}-{index}"
        )
        try:
            anchor, operating_psnr_y_db = anchor_of(clip)
        except SourceError as error:
            problem = str(error)
            continue
        if operating_psnr_y_db <= MAX_OPERATING_DB:
            return HeldOutClip(clip, anchor, operating_psnr_y_db, source.name)
        problem = f"its operating quality is {operating_psnr_y_db:.1f} dB, all but lossless"
    raise SourceError(
        f"no usable held-out clip could be derived from {source.name} in {_MAX_REDRAWS} draws "
        f"(the last: {problem}). Name clips in held_out.clips and set held_out.derived=0"
    )


def first_qps(around: float) -> tuple[float, ...]:
    """Three rates around one that is expected to give the operating quality."""
    middle = min(max(around, QP_MIN + _STEP_QP), QP_MAX - _STEP_QP)
    return (middle - _STEP_QP, middle, middle + _STEP_QP)


def more_qps(points: Sequence[RatePoint], operating_psnr_y_db: float) -> tuple[float, ...]:
    """Return the next rate until the operating quality is between two points; else nothing.

    Nothing either when no rate is left to try: reading the curve then says why it cannot be read.
    """
    if len(points) >= _MAX_POINTS:
        return ()
    qps = [point.qp for point in points]
    qualities = [point.quality.psnr_y_db for point in points]
    if max(qualities) < operating_psnr_y_db:
        short = operating_psnr_y_db - max(qualities)
        wanted = max(QP_MIN, min(qps) - _stride(qps, qualities, short))
    elif min(qualities) > operating_psnr_y_db:
        over = min(qualities) - operating_psnr_y_db
        wanted = min(QP_MAX, max(qps) + _stride(qps, qualities, over))
    else:
        return ()
    return () if wanted in qps else (wanted,)


def _stride(qps: Sequence[float], qualities: Sequence[float], missing_db: float) -> float:
    """Step in qp for so many dB at the mean slope, and a little more."""
    slope = (max(qualities) - min(qualities)) / max(max(qps) - min(qps), 1e-9)
    wanted = missing_db / max(slope, 0.1) + _STEP_QP / 2
    return float(round(min(max(wanted, _STEP_QP), 4 * _STEP_QP)))


@dataclass(frozen=True, slots=True)
class HeldOutSample:
    """The clips of one decision; ``seed_sha256`` names the secret that the derived ones are of."""

    seed_sha256: str
    clips: tuple[HeldOutClip, ...]
