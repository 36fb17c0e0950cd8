"""Frame ring: shared memory that frames pass through, with one doorbell message per frame.

A doorbell is a FRAME message, padded so that a pipe of one page holds ``IN_FLIGHT`` of them. The
writer fills a slot before it sends the doorbell. It cannot be further ahead of the reader than the
length of the pipe, and there are more slots than that, so no slot is written while it is read. A
candidate that sends a doorbell too early, or writes later, damages only its own frames: the
supervisor copies a slot once and looks only at its copy.
"""

import os

import numpy as np

from evocodec.domain.video import Frame, Plane, StreamInfo
from evocodec.guest.framing import HEADER

PIPE_BYTES: int = os.sysconf("SC_PAGE_SIZE")
IN_FLIGHT = 8
DOORBELL = bytes(PIPE_BYTES // IN_FLIGHT - HEADER.size)
# The one being filled, those in the pipe, and the one being copied out; and one to spare.
_SLOTS = IN_FLIGHT + 3


def ring_bytes(stream: StreamInfo) -> int:
    """Return the size of the shared memory in bytes; it depends on the stream alone."""
    return min(_SLOTS, max(stream.frame_count, 1)) * stream.frame_bytes


class Ring:
    """Shared memory as one end sees it; both ends count frames for themselves."""

    def __init__(self, memory: memoryview, stream: StreamInfo) -> None:
        self._samples: Plane = np.frombuffer(memory, dtype=np.uint8)
        self._stream = stream
        self._slots = ring_bytes(stream) // stream.frame_bytes

    def put(self, index: int, frame: Frame) -> None:
        """Copy the planes of the stream's frame ``index`` into its slot."""
        for target, plane in zip(split_planes(self._slot(index), self._stream), frame, strict=True):
            np.copyto(target, plane)

    def take(self, index: int) -> Plane:
        """Return a flat copy of the slot of frame ``index``."""
        return self._slot(index).copy()

    def _slot(self, index: int) -> Plane:
        size = self._stream.frame_bytes
        start = index % self._slots * size
        return self._samples[start : start + size]


def split_planes(samples: Plane, stream: StreamInfo) -> Frame:
    """Cut one raw frame of ``stream.frame_bytes`` samples into y, u, v; no copy."""
    luma = stream.width * stream.height
    chroma = stream.chroma_width * stream.chroma_height
    chroma_shape = (stream.chroma_height, stream.chroma_width)
    return Frame(
        samples[:luma].reshape(stream.height, stream.width),
        samples[luma : luma + chroma].reshape(chroma_shape),
        samples[luma + chroma : luma + 2 * chroma].reshape(chroma_shape),
    )
