"""Anchor encodes with progress reports: several at a time, each point reported as it comes."""

import os
import threading
from collections.abc import Callable

from evocodec.anchors.measure import AnchorEvent
from evocodec.domain.errors import Interrupted

OnAnchor = Callable[[str, str, float], None]  # clip, encoder, rate: an encode that begins now

_MOST_JOBS = 8


def anchor_jobs() -> int:
    """Number of encoders that run at a time."""
    return min(_MOST_JOBS, len(os.sched_getaffinity(0)))


def forward_anchor_event(
    event: AnchorEvent, stop: threading.Event, on_anchor: OnAnchor | None
) -> None:
    """Report each encode that begins; raise when the run is to stop."""
    if stop.is_set():
        raise Interrupted("stopped; anchors measured so far are kept")
    if event.point is None and on_anchor is not None:
        on_anchor(event.clip, event.encoder.name, event.rate)
