"""Stages ask for the encodes they need, and no more."""

from fractions import Fraction

import numpy as np
import pytest

from evocodec.domain.results import Stage
from evocodec.domain.video import Frame, StreamInfo
from evocodec.evaluation.probe import make_probe
from evocodec.execution.jobs import RateJob, full_jobs, screen_jobs, smoke_job
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, make_clip


def clip(name: str, width: int, height: int, frames: int = 12) -> Clip:
    stream = StreamInfo(width, height, Fraction(25), frames)
    chroma = np.zeros((stream.chroma_height, stream.chroma_width), np.uint8)
    frame = Frame(np.zeros((height, width), np.uint8), chroma, chroma)
    return make_clip(ClipSource(name, f"{name}.y4m"), stream, (frame,) * frames)


CLIPS = {c.name: c for c in (clip("big", 64, 48), clip("odd", 33, 32), clip("small", 16, 16))}


def test_a_task_is_named_after_candidate_clip_and_rate() -> None:
    assert RateJob(Stage.FULL, "carphone", 32, 30.0).task_name("c0007") == "c0007/carphone/q30"
    assert RateJob(Stage.FULL, "carphone", 32, 26.5).task_name("c0007") == "c0007/carphone/q26.5"


def test_smoke_takes_three_frames_of_the_smallest_clip() -> None:
    assert smoke_job(CLIPS, 30.0) == RateJob(Stage.SMOKE, "small", 3, 30.0)


@pytest.mark.parametrize("run_id", ["run-1", "run-2", "run-3"])
def test_the_probe_is_small_odd_sized_and_the_same_when_a_run_resumes(run_id: str) -> None:
    large = {c.name: c for c in (clip("wide", 96, 80), clip("tall", 80, 100))}
    probe, again = make_probe(large, run_id), make_probe(large, run_id)
    assert (probe.clip.sha256, probe.job) == (again.clip.sha256, again.job)
    stream = probe.clip.stream
    assert stream.width % 2 or stream.height % 2
    assert (stream.width, stream.height) not in {(96, 80), (80, 100)}
    assert (probe.job.frames, stream.frame_count) == (3, 3)


def test_a_clip_of_one_frame_has_a_probe_too() -> None:
    assert make_probe({"one": clip("one", 64, 48, frames=1)}, "run").job.frames == 1


def test_screen_takes_one_rate_of_a_few_frames_of_every_clip() -> None:
    jobs = screen_jobs(CLIPS, {"big": 20.0, "odd": 25.5, "small": 30.0}, 9)
    assert {(job.clip, job.qp) for job in jobs} == {("big", 20.0), ("odd", 25.5), ("small", 30.0)}
    assert {job.frames for job in jobs} == {9}


def test_no_job_asks_for_more_frames_than_a_clip_has() -> None:
    short = {"short": clip("short", 16, 16, frames=2)}
    assert smoke_job(short, 30.0).frames == 2
    assert screen_jobs(short, {"short": 30.0}, 9)[0].frames == 2


def test_full_takes_whole_clips_at_every_rate_longest_first() -> None:
    jobs = full_jobs(CLIPS, {"big": (32.0, 20.0), "small": (26.0,)})
    assert [(job.clip, job.qp, job.frames) for job in jobs] == [
        ("big", 20.0, 12),
        ("big", 32.0, 12),
        ("small", 26.0, 12),
    ]
    assert {job.stage for job in full_jobs(CLIPS, {"big": (1.0,)}, Stage.HELD_OUT)} == {
        Stage.HELD_OUT
    }
