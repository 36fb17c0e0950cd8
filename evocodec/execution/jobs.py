"""Rate jobs of a stage: pure plans, without knowledge of the machines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evocodec.domain.results import Stage
from evocodec.video.clips import Clip

SMOKE_FRAMES = 3


@dataclass(frozen=True, slots=True)
class RateJob:
    """One encode and decode: the first ``frames`` frames of a clip at one qp."""

    stage: Stage
    clip: str
    frames: int
    qp: float

    def task_name(self, candidate_id: str) -> str:
        """Name to find the task by, for example ``c0007/carphone/q30``."""
        return f"{candidate_id}/{self.clip}/q{self.qp:g}"


def smoke_job(clips: Mapping[str, Clip], qp: float) -> RateJob:
    """Three frames of the smallest clip: the quickest to fail."""
    smallest = min(clips.values(), key=lambda clip: (clip.stream.frame_bytes, clip.name))
    return _job(Stage.SMOKE, smallest, SMOKE_FRAMES, qp)


def screen_jobs(
    clips: Mapping[str, Clip], qps: Mapping[str, float], frames: int
) -> tuple[RateJob, ...]:
    """One rate of the first frames of every clip; ``qps`` are the reference's, by clip."""
    return tuple(_job(Stage.SCREEN, clip, frames, qps[name]) for name, clip in clips.items())


def full_jobs(
    clips: Mapping[str, Clip], qps: Mapping[str, Sequence[float]], stage: Stage = Stage.FULL
) -> tuple[RateJob, ...]:
    """Whole clips at every given qp, longest first, so that no slot waits for a last long one."""
    ordered = sorted(clips.values(), key=lambda clip: -clip.stream.raw_bits)
    return tuple(
        _job(stage, clip, clip.stream.frame_count, qp)
        for clip in ordered
        for qp in sorted(qps.get(clip.name, ()))
    )


def _job(stage: Stage, clip: Clip, frames: int, qp: float) -> RateJob:
    return RateJob(stage, clip.name, min(frames, clip.stream.frame_count), qp)
