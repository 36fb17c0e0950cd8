"""Candidate contract: one Python file, two generator functions, and the names that it imports.

A candidate defines::

    def encode(frames: Iterator[Frame], stream: StreamInfo, qp: float) -> Iterator[bytes]: ...
    def decode(packets: Iterator[bytes], stream: StreamInfo) -> Iterator[Frame]: ...

``qp`` runs from 0 (best) to 63 (smallest); a higher qp must never give more bits. Packets may be
emitted in any order, and frames may be held back as long as needed. ``decode`` must yield exactly
``stream.frame_count`` frames in display order. A plain ``(y, u, v)`` tuple is a Frame too. No state
outlives a call.
"""

from evocodec.domain.video import Frame, Plane, StreamInfo

__all__ = ["QP_MAX", "QP_MIN", "USUAL_QP", "Frame", "Plane", "StreamInfo"]

QP_MIN = 0.0
QP_MAX = 63.0
USUAL_QP = 30.0
"""Quality at which ``evocodec encode`` codes unless told otherwise."""
