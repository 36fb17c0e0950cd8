"""Probe of the smoke test: a small clip of a size and a rate that a program has not seen."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count

from evocodec.domain.results import Stage
from evocodec.execution.jobs import SMOKE_FRAMES, RateJob
from evocodec.video.clips import Clip
from evocodec.video.derived import derive_clip

PROBE = "probe"
"""The name of the probe's clip, which is among no run's clips."""

_LOWEST_QP, _HIGHEST_QP = 14, 44
_LEAST_SIDE = 16  # of what can be cropped


@dataclass(frozen=True, slots=True)
class SmokeProbe:
    """The clip, and the job that codes it."""

    clip: Clip
    job: RateJob


def make_probe(clips: Mapping[str, Clip], run_id: str) -> SmokeProbe:
    """Cut a probe from the smallest clip: cropped, turned, of odd width or height.

    A program that behaves at the development clips' sizes only is found before it is measured. A
    resumed run has the same probe again; its id is drawn at random.
    """
    seed = hashlib.sha256(f"probe of {run_id}".encode()).digest()
    smallest = min(clips.values(), key=lambda clip: (clip.stream.frame_bytes, clip.name))
    source = smallest.head(min(2 * SMOKE_FRAMES, len(smallest.frames)))
    frames = min(SMOKE_FRAMES, len(source.frames))
    clip = replace(source.head(frames), name=PROBE)
    if min(clip.stream.width, clip.stream.height) >= _LEAST_SIDE:
        clip = _odd_sized(source, seed, frames)
    qp = _LOWEST_QP + seed[0] % (_HIGHEST_QP - _LOWEST_QP + 1)
    return SmokeProbe(clip, RateJob(Stage.SMOKE, PROBE, frames, float(qp)))


def _odd_sized(source: Clip, seed: bytes, frames: int) -> Clip:
    for attempt in count():
        clip = derive_clip([source], seed, 0, frames=frames, attempt=attempt, name=PROBE)
        if clip.stream.width % 2 or clip.stream.height % 2:
            return clip
    raise AssertionError("never: a side is odd in three draws of four")
