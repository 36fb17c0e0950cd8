"""Benchmark of the metrics against ffmpeg's filters, and of scoring in an evaluation.

Run it with ``make bench``, or alone with ``python -m benchmarks.bench_metrics``. Speeds are frames
a CPU second, of one thread a side, so that other work on the machine counts little. Both sides read
the same raw files from the page cache; what it takes to start is left out by going through the
frames more than once.
"""

import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.bench_sandbox import Row, markdown
from evocodec.app.engine import engine_options, make_limits
from evocodec.app.programs import built_in
from evocodec.config import Settings
from evocodec.domain.results import RatePoint, Stage
from evocodec.domain.video import Frame, Plane, StreamInfo
from evocodec.execution.engine import Engine, local_engine
from evocodec.execution.jobs import RateJob
from evocodec.metrics.meter import measure
from evocodec.metrics.ms_ssim import ms_ssim
from evocodec.metrics.psnr import frame_psnr
from evocodec.metrics.vmaf import VmafProcess
from evocodec.video.clips import default_clips, load_clip
from evocodec.video.ffmpeg import ffmpeg_exe
from evocodec.video.y4m import pack_frame, unpack_frame

SIZES = ((480, 270, 32), (1920, 1080, 4))
LOOPS = 60
ROUNDS = 2
VMAF_MODELS = r"model='version=vmaf_v0.6.1\:name=a|version=vmaf_v0.6.1neg\:name=b'"


@dataclass(frozen=True)
class Sequences:
    """A reference and a decoded sequence, as raw files."""

    stream: StreamInfo
    folder: Path

    def filter_fps(self, graph: str, loops: int, *, without: str = "") -> float:
        """Frames a CPU second of a filter; what the graph ``without`` it needs is taken off."""
        seconds = self._marginal(lambda n: self._ffmpeg(graph, n), loops)
        if without:
            seconds -= self._marginal(lambda n: self._ffmpeg(without, n), loops)
        return 1 / seconds

    def our_fps(self, work: Callable[[Frame, Frame], object], loops: int) -> float:
        """Frames a CPU second of this thread."""
        return 1 / self._marginal(lambda n: self._ours(work, n), loops)

    def vmaf_fps(self, loops: int) -> float:
        """Frames a CPU second of both models through our pipe, both processes together."""
        return 1 / self._marginal(self._vmaf, loops)

    def _marginal(self, seconds: Callable[[int], float], loops: int) -> float:
        once, often = (min(seconds(n) for _ in range(ROUNDS)) for n in (1, 1 + loops))
        return max(often - once, 1e-9) / (loops * self.stream.frame_count)

    def _ffmpeg(self, graph: str, times: int) -> float:
        command = [ffmpeg_exe(), "-v", "error", "-nostdin"]
        for name in ("decoded", "reference"):
            command += ["-stream_loop", str(times - 1), "-threads", "1", "-f", "rawvideo"]
            command += ["-pix_fmt", "yuv420p", "-s", f"{self.stream.width}x{self.stream.height}"]
            command += ["-i", str(self.folder / name)]
        command += ["-filter_complex_threads", "1", "-lavfi", f"[0][1]{graph}", "-f", "null", "-"]
        before = _children()
        subprocess.run(command, check=True)
        return _children() - before

    def _ours(self, work: Callable[[Frame, Frame], object], times: int) -> float:
        start = time.thread_time()
        for mine, other in self._frames(times):
            work(mine, other)
        return time.thread_time() - start

    def _vmaf(self, times: int) -> float:
        before, start = _children(), time.thread_time()
        process = VmafProcess((self.stream.height, self.stream.width))
        for mine, other in self._frames(times):
            process.add(mine.y, other.y)
        process.finish()
        process.close()
        return time.thread_time() - start + _children() - before

    def _frames(self, times: int) -> Iterator[tuple[Frame, Frame]]:
        size = self.stream.frame_bytes
        for _ in range(times):
            with (
                (self.folder / "reference").open("rb") as reference,
                (self.folder / "decoded").open("rb") as decoded,
            ):
                while raw := reference.read(size):
                    yield (
                        unpack_frame(raw, self.stream),
                        unpack_frame(decoded.read(size), self.stream),
                    )


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def metric_rows() -> list[Row]:
    """Our metrics beside ffmpeg's, one thread each."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return [row for size in SIZES for row in _size_rows(*size, Path(folder))]
    finally:
        cv2.setNumThreads(threads)


def _size_rows(width: int, height: int, count: int, folder: Path) -> list[Row]:
    frames = _sequences(width, height, count, folder)
    similarity = frames.our_fps(lambda mine, other: ms_ssim(mine.y, other.y), 4)
    single = frames.filter_fps("ssim", LOOPS)
    multi = frames.filter_fps("libvmaf=feature=name=float_ms_ssim", 1, without="libvmaf")
    both = frames.filter_fps(f"libvmaf={VMAF_MODELS}", 3)
    size = f"{width}×{height}"
    return [
        _compared(
            f"PSNR of Y, U and V, {size}",
            *(frames.our_fps(frame_psnr, LOOPS), frames.filter_fps("psnr", LOOPS), "psnr"),
        ),
        _compared(f"MS-SSIM of Y, {size}", similarity, multi, "libvmaf's float_ms_ssim"),
        _compared("… beside another metric", similarity, single, "ssim, one scale, of Y, U and V"),
        _compared(f"VMAF and VMAF-NEG, {size}", frames.vmaf_fps(3), both, "libvmaf on files"),
    ]


def _compared(what: str, ours: float, theirs: float, name: str) -> Row:
    return Row(what, f"{_round(ours)} frames/s, ×{ours / theirs:.2g}", f"{_round(theirs)}: {name}")


def _round(fps: float) -> str:
    return f"{fps:,.0f}" if fps >= 10 else f"{fps:.1f}"


def _sequences(width: int, height: int, count: int, folder: Path) -> Sequences:
    clip = load_clip(replace(default_clips()[0], frames=count, scale=(width, height)))
    generator = np.random.default_rng(1)
    noise = generator.integers(-4, 5, (height, width))

    def noisy(plane: Plane) -> Plane:
        rows, columns = plane.shape
        changed: Plane = np.clip(plane + noise[:rows, :columns], 0, 255).astype(np.uint8)
        return changed

    decoded = [Frame(noisy(y), noisy(u), noisy(v)) for y, u, v in clip.frames]
    for name, side in (("reference", clip.frames), ("decoded", decoded)):
        (folder / name).write_bytes(b"".join(map(pack_frame, side)))
    return Sequences(clip.stream, folder)


def overhead_rows(engine: Engine) -> list[Row]:
    """One rate point of the seed on 64 frames of 480×270, and what the harness adds to it."""
    clip = load_clip(replace(default_clips()[0], name="wide", frames=64, scale=(480, 270)))
    engine.put_clip(clip)
    points: list[RatePoint] = []
    start = time.perf_counter()
    engine.run_jobs(
        "seed",
        built_in("inter"),
        [RateJob(Stage.SCREEN, "wide", 64, 30.0)],
        on_point=lambda _job, point: points.append(point),
        on_retry=lambda *_: None,
    )
    wall = time.perf_counter() - start
    cost = points[0].cost
    candidate = cost.encode_wall_seconds + cost.decode_wall_seconds
    plain, vmaf = (_scoring_seconds(tuple(clip.frames), vmaf=vmaf) for vmaf in (False, True))
    return [
        Row(
            "harness overhead, a rate point of 64 frames of 480×270",
            f"{wall / candidate - 1:.1%}",
            f"of {candidate:.1f} s in the seed's encoder and decoder; one slot, launches, "
            "transfers and scoring included",
        ),
        Row("… of which PSNR and MS-SSIM", f"{plain / candidate:.1%}", f"{1e3 * plain:.0f} ms"),
        Row(
            "… and VMAF and VMAF-NEG on top, where wanted",
            f"{(vmaf - plain) / candidate:.1%}",
            f"{vmaf - plain:.2f} s",
        ),
    ]


def _scoring_seconds(frames: tuple[Frame, ...], *, vmaf: bool) -> float:
    lowest_bit = np.uint8(1)
    shifted = tuple(Frame(y ^ lowest_bit, u ^ lowest_bit, v ^ lowest_bit) for y, u, v in frames)
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        measure(frames, shifted, vmaf=vmaf)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    rows = metric_rows()
    settings = Settings()
    limits = replace(make_limits(settings), wall_seconds=600, cpu_seconds=600)
    engine = local_engine(
        replace(engine_options(settings), limits=limits, writer_id="v0", local_cpus=1)
    )
    engine.start()
    try:
        rows += overhead_rows(engine)
    finally:
        engine.close()
    print(markdown(rows))


if __name__ == "__main__":
    main()
