"""Time from a full evaluation to an adoption, and how busy slots are, by the order of tasks.

The product's engine on a real Ray of its own; tasks sleep, so that other work on the machine hardly
matters. Candidates take the stages of a run, as many at once as ``--in-flight`` says; every third
one goes on to the held-out check. To compare two checkouts, run it in both beside each other.

    python -m benchmarks.bench_order --slots 2 --in-flight 2
"""

import argparse
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from statistics import fmean
from typing import Any

# Slot-seconds of a task on whole clips, as of the seed on the built-in clips, by four.
SECONDS = {"encode": 0.28, "decode": 0.14, "verify": 0.12}
SHARE = {"smoke": 0.15, "screen": 0.3, "full": 1.0, "held_out": 0.6}  # of those seconds
JOBS = {"smoke": 2, "screen": 3, "full": 13, "held_out": 18}
SETTINGS_FRAMES = {stage: 1 + number for number, stage in enumerate(JOBS)}


def sleeping_task(step: str, seconds: float) -> Iterator[Any]:
    """The messages of a task that ends well."""
    from evocodec.domain.results import Cost, Quality, RatePoint
    from evocodec.execution import messages

    yield messages.TaskStarted(os.getpid(), "bench")
    time.sleep(seconds)
    if step == "encode":
        from evocodec.domain.results import ResourceUse

        yield messages.Encoded(ResourceUse(seconds, seconds, 1))
        yield b"stream"
    elif step == "decode":
        yield messages.Decoded("0" * 64)
        quality = Quality(40.0, 40.0, 40.0, 40.0, None, 40.0)
        yield messages.Scored(RatePoint("clip", 30.0, 800, 1, quality, Cost(), "0" * 64))
    else:
        yield messages.Verified()


def _seconds(step: str, spec: Any) -> float:
    stage = next(s for s, frames in SETTINGS_FRAMES.items() if frames == spec.stream.frame_count)
    return SECONDS[step] * SHARE[stage]


def sleeping_encode_task(frames: Any, program: str, spec: Any) -> Iterator[Any]:
    return sleeping_task("encode", _seconds("encode", spec))


def sleeping_decode_task(f: Any, program: str, packed: Any, use: Any, spec: Any) -> Iterator[Any]:
    return sleeping_task("decode", _seconds("decode", spec))


def sleeping_verify_task(program: str, packed: Any, digest: str, spec: Any) -> Iterator[Any]:
    return sleeping_task("verify", _seconds("verify", spec))


def replace_tasks() -> None:
    """Let workers sleep, whichever way this tree looks tasks up."""
    from evocodec.execution import tasks

    for step in SECONDS:
        sleeping = globals()[f"sleeping_{step}_task"]
        setattr(tasks, f"{step}_task", sleeping)
        if "TASKS" in vars(tasks):
            vars(tasks)["TASKS"][step] = sleeping


class Candidates:
    """Threads that take candidates through the stages, and when each stage ended."""

    def __init__(self, engine: Any, count: int) -> None:
        self._engine = engine
        self._count = count
        self.ended: dict[tuple[int, str], float] = {}
        self.began = time.monotonic()

    def run(self, in_flight: int) -> float:
        """Return the seconds that all of them took."""
        with ThreadPoolExecutor(in_flight) as pool:
            list(pool.map(self._drive, range(1, self._count + 1)))
        return time.monotonic() - self.began

    def _drive(self, number: int) -> None:
        from evocodec.domain.results import Stage
        from evocodec.execution.jobs import RateJob

        for stage, count in JOBS.items():
            if stage == "held_out" and number % 3 != 1:
                break
            jobs = [
                RateJob(Stage(stage), "clip", SETTINGS_FRAMES[stage], float(qp))
                for qp in range(count)
            ]
            self._engine.run_jobs(
                f"c{number:04d}",
                f"program {number}",
                jobs,
                on_point=lambda job, point: None,
                on_retry=lambda task, retry, reason: print(task, reason),
                verify=stage != "screen",
            )
            self.ended[number, stage] = time.monotonic() - self.began


def measure(slots: int, in_flight: int, count: int) -> str:
    """One row of the table."""
    import numpy as np

    from evocodec.domain.video import Frame, StreamInfo
    from evocodec.execution.engine import ray_engine
    from evocodec.video.clip_spec import ClipSource
    from evocodec.video.clips import make_clip
    from tests.support.default_options import default_engine_options

    replace_tasks()
    engine = ray_engine(default_engine_options(local_cpus=slots, dashboard=False))
    engine.start()
    frame = Frame(*(np.zeros(shape, np.uint8) for shape in ((16, 16), (8, 8), (8, 8))))
    frames = tuple(frame for _ in range(max(SETTINGS_FRAMES.values())))
    stream = StreamInfo(16, 16, Fraction(30), len(frames))
    engine.put_clip(make_clip(ClipSource("clip", ""), stream, frames))
    time.sleep(2)  # warm-up tasks of the other slots
    busy = _Sampler(engine.busy)
    candidates = Candidates(engine, count)
    cpu = time.process_time()
    seconds = candidates.run(in_flight)
    cpu = time.process_time() - cpu
    engine.close()
    steps = {"screen": ("encode", "decode")}
    asleep = sum(
        SECONDS[step] * SHARE[stage] * JOBS[stage]
        for number, stage in candidates.ended
        for step in steps.get(stage, tuple(SECONDS))
    )
    adopted = sorted(n for n, stage in candidates.ended if stage == "held_out")
    waits = [candidates.ended[n, "held_out"] - candidates.ended[n, "full"] for n in adopted]
    times = ", ".join(f"{candidates.ended[n, 'held_out']:.1f}" for n in adopted)
    return (
        f"| {slots} | {in_flight} | {fmean(waits):.1f} s | {times} | {seconds:.1f} s | "
        f"{asleep / seconds / slots:.0%} | {1e3 * cpu / count:.0f} ms | {busy.mean():.2f} |"
    )


class _Sampler:
    def __init__(self, ask: Any) -> None:
        self._samples: list[int] = []
        self._ask = ask
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            self._samples.append(self._ask())
            time.sleep(0.05)

    def mean(self) -> float:
        return fmean(self._samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--in-flight", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=7)
    asked = parser.parse_args()
    print("| slots | in flight | full to adoption | adoptions at | all | slots busy | CPU | busy |")
    print(measure(asked.slots, asked.in_flight, asked.candidates))


if __name__ == "__main__":
    main()
