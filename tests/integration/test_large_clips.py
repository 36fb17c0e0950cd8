"""Clips that do not fit in memory: what controller and workers hold stays bounded."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.results import RatePoint, Stage
from evocodec.execution.engine import Engine, ray_engine
from evocodec.execution.jobs import RateJob
from evocodec.execution.workers.frame_transfer import receive_frames, sendable
from evocodec.metrics.meter import measure_quality
from evocodec.sandbox.conformance import frames_digest
from evocodec.sandbox.policy import MEBIBYTE
from evocodec.video import frame_store
from evocodec.video.clip_cache import ClipCache, clip_cache
from evocodec.video.clip_spec import parse_clip
from evocodec.video.clips import Clip, load_clip, make_clip
from evocodec.video.data_options import data_options, use_options
from evocodec.video.ffmpeg import ffmpeg_exe
from evocodec.video.frame_store import FrameFile, FrameWriter
from tests.support.default_options import (
    default_data_options,
    default_engine_options,
    default_limits,
    default_policy,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

FRAMES = 36  # of 1080p: 107 MiB
GREY = (Path(__file__).resolve().parents[1] / "data" / "grey_codec.py").read_text()
LOAD = """
import sys
from pathlib import Path
from evocodec.video.clip_spec import parse_clip
from evocodec.video.clips import load_clip
from evocodec.video.data_options import DataOptions, use_options

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

use_options(DataOptions(Path(sys.argv[2]), 1 << 30, "", None))
load_clip(parse_clip(sys.argv[1] + "@0-2"))
before = peak()
clip = load_clip(parse_clip(sys.argv[1]))
print(peak() - before, len(clip.frames), clip.sha256)
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.mkv"
    source = f"testsrc2=size=1920x1080:rate=30,trim=end_frame={FRAMES}"
    coding = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast")
    command = [ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, *coding, str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClipCache]:
    folder = tmp_path_factory.getbasetemp() / "video-cache"
    before = use_options(default_data_options(folder))
    yield clip_cache()
    use_options(before)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    limits = default_limits(wall_seconds=60, cpu_seconds=60, memory_bytes=512 * MEBIBYTE)
    options = default_engine_options(
        limits=limits,
        policy=default_policy(),
        writer_id="v0",
        local_cpus=1,
        object_store_bytes=80 * MEBIBYTE,
        dashboard=False,
    )
    engine = ray_engine(options)
    engine.start()
    yield engine
    engine.close()


def measured(engine: Engine, clip: Clip) -> RatePoint:
    engine.put_clip(clip)
    job = RateJob(stage=Stage.FULL, clip=clip.name, qp=30.0, frames=len(clip.frames))
    points: list[RatePoint] = []
    engine.run_jobs(
        "c0001",
        GREY,
        [job],
        on_point=lambda _job, point: points.append(point),
        on_retry=lambda *_arguments: pytest.fail(f"a task was lost: {_arguments}"),
    )
    return points[0]


def worker_peak_bytes() -> int:
    workers = [
        child
        for child in psutil.Process().children(recursive=True)
        if child.name().startswith("ray::") and not child.name().startswith("ray::IDLE_Spill")
    ]
    peaks = []
    for worker in workers:
        lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
        peaks += [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    return max(peaks)


def test_loading_holds_a_part_and_gives_the_same_digest(video: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOAD, str(video), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    growth, count, sha256 = done.stdout.split()
    assert int(count) == FRAMES
    clip = load_clip(parse_clip(str(video)))
    assert isinstance(clip.frames, FrameFile)
    assert clip.sha256 == sha256
    assert clip.sha256 == make_clip(clip.source, clip.stream, tuple(clip.frames)).sha256
    whole = clip.stream.frame_bytes * FRAMES
    assert int(growth) * 1024 < min(whole, frame_store.IN_MEMORY_BYTES * 1.4)


def test_a_worker_holds_neither_sequence(engine: Engine, video: Path) -> None:
    measured(engine, load_clip(parse_clip(f"{video}@0-2")))
    before = worker_peak_bytes()
    clip = load_clip(parse_clip(str(video)))
    point = measured(engine, clip)
    assert point.frames == FRAMES
    assert worker_peak_bytes() - before < clip.stream.frame_bytes * FRAMES / 2
    head = clip.head(3)
    assert isinstance(head.frames, FrameFile)
    short = measured(engine, replace(head, name="head"))
    assert short.quality.psnr_y_db == pytest.approx(
        sum(point.series.psnr_y_db[:3]) / 3 if point.series else 0
    )


def test_another_machine_gets_the_frames_in_pieces(
    engine: Engine, video: Path, tmp_path: Path
) -> None:
    clip = load_clip(parse_clip(str(video)))
    sent = sendable(clip, elsewhere=True, cache_bytes=1 << 30)
    reduced: Any = sent.__reduce__()
    receive, (_path, stream, start, sha256, pieces, cache_bytes) = reduced
    assert receive is receive_frames
    assert len(pieces) > 2
    use_options(default_data_options(tmp_path / "there"))
    there = receive_frames("/nowhere/x.yuv", stream, start, sha256, pieces, cache_bytes)
    assert there.path == tmp_path / "there" / f"{clip.sha256}.yuv"
    assert frames_digest(there) == frames_digest(clip.frames)
    again = receive_frames("/nowhere/x.yuv", stream, start, sha256, pieces, cache_bytes)
    assert again.path == there.path
    assert frames_digest(again[:1]) == frames_digest(clip.frames[:1])
    assert again.path.stat().st_ino == there.path.stat().st_ino


def test_frames_that_are_nowhere_are_our_failure(video: Path) -> None:
    clip = load_clip(parse_clip(f"{video}@0-2"))
    with pytest.raises(InfrastructureFailure, match="not on this machine"):
        receive_frames("/nowhere/x.yuv", clip.stream, 0, clip.sha256, (), 0)


def test_a_large_clip_is_decoded_once_and_kept_while_in_use(video: Path, tmp_path: Path) -> None:
    use_options(replace(default_data_options(tmp_path), cache_bytes=1))
    first = load_clip(parse_clip(str(video)))
    assert isinstance(first.frames, FrameFile)
    kept = first.frames.path
    changed = kept.stat().st_ino
    second = load_clip(parse_clip(str(video)))
    assert isinstance(second.frames, FrameFile)
    assert second.sha256 == first.sha256
    assert second.frames.path.stat().st_ino == changed
    clip_cache().make_room()
    assert kept.exists()
    assert measure_quality(first.frames[:1], second.frames[:1]).psnr_y_db == 100
    del first, second
    clip_cache().make_room()
    assert not kept.exists()
    assert not list(data_options().cache_folder.glob("*.part"))


def test_a_writer_accepts_frames_again_from_the_beginning(video: Path) -> None:
    clip = load_clip(parse_clip(f"{video}@0-3"))
    writer = FrameWriter(clip.stream)
    writer.discard()
    for index, frame in [*enumerate(clip.frames[1:]), *enumerate(clip.frames)]:
        writer.put(index, frame)
    assert frames_digest(writer.frames()) == frames_digest(clip.frames)
