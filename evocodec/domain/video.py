"""Frames and streams: the only types that a candidate and its evaluation share."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:  # events hold a StreamInfo, and who only reads events has no use for arrays
    import numpy as np
    import numpy.typing as npt

Plane: TypeAlias = "npt.NDArray[np.uint8]"


class Frame(NamedTuple):
    """One picture, 8-bit 4:2:0, BT.709 limited range.

    ``y`` is uint8 of shape (height, width); ``u`` and ``v`` are uint8 of shape
    (ceil(height / 2), ceil(width / 2)). Odd sizes are legal.
    """

    y: Plane
    u: Plane
    v: Plane


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Stream parameters that a decoder knows besides packets: luma size, rate, frame count."""

    width: int
    height: int
    fps: Fraction
    frame_count: int

    @property
    def chroma_width(self) -> int:
        """Chroma samples a row."""
        return (self.width + 1) // 2

    @property
    def chroma_height(self) -> int:
        """Chroma rows."""
        return (self.height + 1) // 2

    @property
    def frame_bytes(self) -> int:
        """Raw size of one 4:2:0 8-bit frame in bytes."""
        return self.width * self.height + 2 * self.chroma_width * self.chroma_height

    @property
    def raw_bits(self) -> int:
        """Raw size of the whole stream in bits."""
        return 8 * self.frame_bytes * self.frame_count
