"""Benchmark of what Evocodec itself costs, printed as a Markdown table.

Run it with ``make bench``. A few minutes on two cores; ``ARGS=--quick`` leaves the full stage out.
Anchors are measured once and kept in ``build/bench``.
"""

import argparse
import os
import platform
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np

from benchmarks.bench_controller import controller_rows as cpu_rows
from benchmarks.bench_metrics import metric_rows, overhead_rows
from benchmarks.bench_prompts import prompt_row
from benchmarks.bench_sandbox import Row, markdown, sandbox_rows
from benchmarks.bench_startup import startup_row, warm_starts
from evocodec.anchors.encoders import X265_MEDIUM
from evocodec.anchors.measure import anchor_curve, operating_quality_db
from evocodec.app.engine import engine_options, make_limits
from evocodec.app.laboratory import Laboratory
from evocodec.app.programs import built_in
from evocodec.app.runs import perform_run
from evocodec.app.stage_settings import stage_settings
from evocodec.codec.program import Program
from evocodec.config import Settings, load_settings
from evocodec.domain.clock import utc_now
from evocodec.domain.events import Event, PointMeasured
from evocodec.domain.results import RdCurve, Stage
from evocodec.domain.video import Frame, StreamInfo
from evocodec.evaluation.staged import StagedEvaluator
from evocodec.execution.engine import Engine, ray_engine
from evocodec.execution.jobs import RateJob
from evocodec.store.memory import MemoryLedger
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, default_clips, load_clip, make_clip

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "bench"
TOY = ROOT / "tests" / "data" / "toy_codec.py"
LIMITS = replace(make_limits(Settings()), wall_seconds=600, cpu_seconds=600)
TRIVIAL = 60
IN_FLIGHT = 3
LOOP_CANDIDATES = (3, 13)

STORE = (ROOT / "tests" / "data" / "store_codec.py").read_text()


class Book:
    """A ledger in memory, and how evaluators use it."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()

    def evaluator(
        self, engine: Engine, clips: Mapping[str, Clip], anchors: Mapping[str, RdCurve]
    ) -> StagedEvaluator:
        def record(event: Event) -> None:
            self.ledger.record(event)

        return StagedEvaluator(
            engine,
            run_id="bench",
            settings=stage_settings(Settings()),
            clips=clips,
            anchors=anchors,
            operating_db={
                name: operating_quality_db(curve, clips[name].stream)
                for name, curve in anchors.items()
            },
            record=record,
            recorded=lambda key: self.ledger.get("bench", key),
            now=utc_now,
        )

    def busy_seconds(self, candidate_id: str, stage: Stage) -> float:
        """Wall time that sandboxes spent in the candidate's encoder and decoder."""
        return sum(
            event.point.cost.encode_wall_seconds + event.point.cost.decode_wall_seconds
            for _, event in self.ledger.events("bench", candidate_id=candidate_id)
            if isinstance(event, PointMeasured) and event.stage is stage
        )


def task_rows(engine: Engine) -> list[Row]:
    """A rate point of a program that does nothing: two tasks, two sandboxes, one score."""
    tiny = noise("tiny", 16, 16, 1)
    engine.put_clip(tiny)
    seconds = []
    for number in range(TRIVIAL):
        job = RateJob(Stage.SMOKE, "tiny", 1, float(number))
        with stopwatch() as took:
            run_one(engine, job)
        seconds.append(took())
    return [
        Row(
            "rate point of a trivial program, median / p95",
            f"{1e3 * statistics.median(seconds):.1f} / "
            f"{1e3 * statistics.quantiles(seconds, n=20)[-1]:.1f} ms",
            "encode task + decode task + score, one after the other",
        )
    ]


def controller_rows(engine: Engine) -> list[Row]:
    """Cost of a candidate for the controller when its program costs nothing."""
    tiny = {"tiny": noise("tiny", 16, 16, 3)}
    book = Book()
    engine.put_clip(tiny["tiny"])
    evaluator = book.evaluator(engine, tiny, {})
    thread_seconds: list[float] = []
    lock = threading.Lock()

    def smoke(number: int) -> None:
        before = time.thread_time()
        evaluator.smoke(f"c{number:04}", 0, Program(STORE))
        with lock:
            thread_seconds.append(time.thread_time() - before)

    cpu = time.process_time()
    with stopwatch() as took, ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(smoke, range(TRIVIAL)))
    wall = took()
    total = 1e3 * (time.process_time() - cpu) / TRIVIAL
    own = 1e3 * sum(thread_seconds) / TRIVIAL
    return [
        Row("controller CPU a trivial candidate, our threads", f"{own:.1f} ms", "smoke stage only"),
        Row("… with Ray's own threads in the controller", f"{total:.1f} ms"),
        Row(
            "trivial candidates evaluated",
            f"{TRIVIAL / wall:.1f} /s",
            f"{IN_FLIGHT} in flight; verified on an emulated processor as well",
        ),
    ]


def stage_rows(engine: Engine, *, quick: bool) -> list[Row]:
    """The seed program on the default clips, alone, as the first candidate of a run."""
    seed = built_in("inter")
    clips = {source.name: load_clip(source) for source in default_clips()}
    anchors = {
        name: anchor_curve(clip, X265_MEDIUM, CACHE / "anchors", jobs=slots())
        for name, clip in clips.items()
    }
    book = Book()
    evaluator = book.evaluator(engine, clips, anchors)
    rows = []
    with stopwatch() as took:
        evaluator.smoke("seed", 0, Program(seed))
    rows.append(Row("seed: smoke", f"{took():.1f} s"))
    if quick:
        return rows
    with stopwatch() as took:
        score = evaluator.full("seed", 0, Program(seed))
    points = sum(len(clip.curve.points) for clip in score.clips)
    rows += [
        Row(
            "seed: full",
            f"{took():.1f} s",
            f"{points} points; {score.bitrate_mbps:.2f} Mbps, {score.encode_fps:.1f} frames/s "
            f"encode, {score.decode_fps:.1f} decode",
        ),
        share_row("full", book.busy_seconds("seed", Stage.FULL), took()),
    ]
    with stopwatch() as took:
        evaluator.screen_points("seed", 0, Program(seed), score)
    rows += [
        Row("seed: screen", f"{took():.1f} s"),
        share_row("screen", book.busy_seconds("seed", Stage.SCREEN), took()),
    ]
    names = [f"seed{number}" for number in range(IN_FLIGHT)]
    with stopwatch() as took, ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(lambda name: evaluator.screen_points(name, 0, Program(seed), score), names))
    busy = sum(book.busy_seconds(name, Stage.SCREEN) for name in names)
    rows.append(share_row("screen", busy, took(), candidates=IN_FLIGHT))
    return rows


def share_row(stage: str, busy: float, wall: float, *, candidates: int = 1) -> Row:
    """Share of the slots' time that was spent in candidates, without launch and scoring."""
    share = busy / (wall * slots())
    return Row(
        f"seed: share of slot time in its encoder and decoder, {stage}",
        f"{share:.0%}",
        f"{busy:.1f} s of {slots()} x {wall:.1f} s; {candidates} in flight",
    )


def laboratory_rows() -> list[Row]:
    """The whole loop around a toy codec: graph, ledger, git, proposer, displays excepted."""
    few, many = LOOP_CANDIDATES
    laboratory_cpu(few)  # imports and caches, once for the process
    first, _ = laboratory_cpu(few)
    second, wall = laboratory_cpu(many)
    return [
        Row(
            "whole loop: controller CPU for one more candidate",
            f"{1e3 * (second - first) / (many - few):.0f} ms",
            f"a toy codec; {many} candidates less {few}, so without start and stop",
        ),
        Row(f"whole loop: {many} toy candidates", f"{wall:.0f} s", "start of Ray included"),
    ]


def laboratory_cpu(count: int) -> tuple[float, float]:
    """CPU seconds of this process, and wall seconds, of a run of ``count`` candidates."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            flags={
                "workspace": folder,
                "run.program": str(TOY),
                "run.candidates": count,
                "run.slots": slots(),
                "judge.chance_first_below_mbps": 1000.0,
                "evaluation.clips": [f"{default_clips()[0].path}@0-8:96x80"],
                "evaluation.screen_frames": 4,
                # It quantises chroma as it does luma, which is coarse for colours.
                "evaluation.chroma_margin_db": 10.0,
                # By chance a toy passes or fails there, and what is measured must not vary.
                "held_out.enabled": False,
            }
        )
        with Laboratory.open(settings) as laboratory:
            cpu = time.process_time()
            with stopwatch() as took:
                view = perform_run(laboratory)
            cpu = time.process_time() - cpu
    assert len(view.candidates) == count, view.message
    return cpu, took()


def run_one(engine: Engine, job: RateJob) -> None:
    engine.run_jobs(
        "c0000", STORE, [job], on_point=lambda _job, _point: None, on_retry=lambda *_: None
    )


def noise(name: str, width: int, height: int, count: int) -> Clip:
    stream = StreamInfo(width, height, Fraction(30), count)
    rng = np.random.default_rng(1)
    luma, chroma = (height, width), (stream.chroma_height, stream.chroma_width)
    frames = tuple(
        Frame(*(rng.integers(16, 235, shape, dtype=np.uint8) for shape in (luma, chroma, chroma)))
        for _ in range(count)
    )
    return make_clip(ClipSource(name, ""), stream, frames)


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Yield a function that gives the seconds since entry, until the exit stops it."""
    start = time.perf_counter()
    end: float | None = None
    yield lambda: (end if end is not None else time.perf_counter()) - start
    end = time.perf_counter()


def slots() -> int:
    return len(os.sched_getaffinity(0))


class _Told(list[Row]):
    """Rows that are told on stderr as they come: minutes are not lost with a later failure."""

    def __init__(self, rows: Iterable[Row]) -> None:
        super().__init__()
        self += rows

    def __iadd__(self, rows: Iterable[Row]) -> Self:  # type: ignore[override, misc]
        for row in rows:
            self.append(row)
        return self

    def append(self, row: Row) -> None:
        print(markdown([row]).splitlines()[-1], file=sys.stderr, flush=True)
        super().append(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave the full stage out")
    quick = parser.parse_args().quick
    rows = _Told([startup_row(warm_starts()), *sandbox_rows()])
    engine = ray_engine(
        replace(engine_options(Settings()), limits=LIMITS, writer_id="v0", local_cpus=slots())
    )
    with stopwatch() as took:
        info = engine.start()
    rows.append(Row("start of a local engine", f"{took():.1f} s", "Ray, and a first warm worker"))
    try:
        run_one_warm(engine)
        rows += task_rows(engine)
        rows += controller_rows(engine)
        rows += stage_rows(engine, quick=quick)
        if not quick:
            rows += metric_rows() + overhead_rows(engine)
    finally:
        engine.close()
    rows += laboratory_rows()
    rows += cpu_rows()
    rows += [prompt_row()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append(Row("peak memory of the controller", f"{peak:.0f} MiB", "all of the above"))
    layers = ", ".join(name for name in info.isolation.layers if info.isolation.holds(name))
    print(f"{platform.machine()}, {slots()} cores, Python {platform.python_version()}; {layers}\n")
    print(markdown(rows))


def run_one_warm(engine: Engine) -> None:
    """Let every worker start both of its fork servers before anything is timed."""
    tiny = {"tiny": noise("tiny", 16, 16, 3)}
    evaluator = Book().evaluator(engine, tiny, {})
    with ThreadPoolExecutor(2 * slots()) as pool:
        list(pool.map(lambda n: evaluator.smoke(f"w{n}", 0, Program(STORE)), range(8 * slots())))


if __name__ == "__main__":
    main()
