"""Benchmark of the sandbox, printed as a Markdown table: ``python -m benchmarks.bench_sandbox``.

About a minute on two cores. Figures are of this machine, with whatever else it is doing.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import psutil

from evocodec.app.engine import make_limits, make_policy
from evocodec.config import Settings
from evocodec.domain.video import Frame, StreamInfo
from evocodec.sandbox.forkserver import DEFAULT_PRELOAD, ForkServerLauncher
from evocodec.sandbox.policy import available_imports

POLICY, LIMITS = make_policy(Settings()), make_limits(Settings())
LAUNCHES = 100
FRAMES = 60
REPEATS = 3

CLOCK = """
import time

def encode(frames, stream, qp):
    yield str(time.monotonic()).encode()

def decode(packets, stream):
    yield from ()
"""
TRANSFER = """
import numpy as np

def encode(frames, stream, qp):
    for frame in frames:
        pass
    yield b""

def decode(packets, stream):
    y = np.zeros((stream.height, stream.width), np.uint8)
    c = np.zeros((stream.chroma_height, stream.chroma_width), np.uint8)
    for _ in range(stream.frame_count):
        yield y, c, c
"""


@dataclass(frozen=True)
class Row:
    what: str
    value: str
    note: str = ""


def launch_rows(launcher: ForkServerLauncher, name: str, launches: int) -> list[Row]:
    """From the call to the program's own clock: both read the machine's monotonic one."""
    stream, frames = clip(16, 16, 1)
    seconds = []
    for _ in range(launches):
        start = time.monotonic()
        packets = launcher.encode(CLOCK, frames, stream, 30.0, LIMITS).packets
        seconds.append(float(packets[0]) - start)
    return [
        Row(
            f"launch to user code, median / p95, {name}",
            f"{1e3 * statistics.median(seconds):.1f} / {1e3 * percentile_95(seconds):.1f} ms",
            f"{launches} launches, one after the other",
        )
    ]


def rate_row(launcher: ForkServerLauncher, launches: int) -> Row:
    stream, frames = clip(16, 16, 1)
    slots = len(os.sched_getaffinity(0))

    def launch(_number: int) -> None:
        launcher.encode(CLOCK, frames, stream, 30.0, LIMITS)

    start = time.perf_counter()
    with ThreadPoolExecutor(slots) as pool:
        list(pool.map(launch, range(launches)))
    seconds = time.perf_counter() - start
    return Row("launches", f"{launches / seconds:.0f} /s", f"{slots} at a time, one fork server")


def transfer_rows(launcher: ForkServerLauncher) -> list[Row]:
    """Cost of a 1080p frame beyond the launch, next to one copy to new memory."""
    stream, frames = clip(1920, 1080, FRAMES)
    one_frame = StreamInfo(1920, 1080, stream.fps, 1)
    encode_seconds = best(
        lambda: launcher.encode(TRANSFER, frames, stream, 30.0, LIMITS),
        lambda: launcher.encode(TRANSFER, frames[:1], one_frame, 30.0, LIMITS),
    )
    decode_seconds = best(
        lambda: launcher.decode(TRANSFER, [], stream, LIMITS),
        lambda: launcher.decode(TRANSFER, [], one_frame, LIMITS),
    )
    kept: list[object] = []
    copy_seconds = best(
        lambda: kept.extend([plane.copy() for plane in frame] for frame in frames),
        kept.clear,
    )
    note = f"{FRAMES} frames, best of {REPEATS}, launch excluded"
    return [
        Row("1080p frame into an encoder", f"{1e3 * encode_seconds:.2f} ms", note),
        Row("1080p frame out of a decoder", f"{1e3 * decode_seconds:.2f} ms", note),
        Row("1080p frame copied to new memory", f"{1e3 * copy_seconds:.2f} ms", "to compare with"),
    ]


def best(many: Callable[[], object], once: Callable[[], object]) -> float:
    """Seconds for each further frame."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        many()
        middle = time.perf_counter()
        once()
        seconds.append((middle - start) - (time.perf_counter() - middle))
    return min(seconds) / (FRAMES - 1)


def memory_row(launcher: ForkServerLauncher, name: str) -> Row:
    server = psutil.Process(launcher.server_pid)
    family = [server, *server.children(recursive=True)]
    bytes_used = sum(process.memory_full_info().pss for process in family)
    note = "proportional set size of its processes"
    return Row(f"idle fork server, {name}", f"{bytes_used / 2**20:.0f} MiB", note)


def clip(width: int, height: int, count: int) -> tuple[StreamInfo, list[Frame]]:
    stream = StreamInfo(width, height, Fraction(30), count)
    rng = np.random.default_rng(1)
    luma, chroma = (height, width), (stream.chroma_height, stream.chroma_width)
    few = [
        Frame(*(rng.integers(16, 235, shape, np.uint8) for shape in (luma, chroma, chroma)))
        for _ in range(min(count, 4))
    ]
    return stream, [few[index % len(few)] for index in range(count)]


def percentile_95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def sandbox_rows(launches: int = LAUNCHES) -> list[Row]:
    """Rows of the table, for the default policy and the installed libraries."""
    kinds: dict[str, tuple[str, ...]] = {"NumPy, OpenCV": DEFAULT_PRELOAD}
    if "torch" in available_imports(POLICY):
        kinds["torch as well"] = (*DEFAULT_PRELOAD, "torch")
    rows = []
    for name, preload in kinds.items():
        with ForkServerLauncher(POLICY, preload=preload) as launcher:
            start = time.perf_counter()
            report = launcher.describe()
            started = time.perf_counter() - start
            rows.append(Row(f"start of a fork server, {name}", f"{started:.2f} s"))
            rows += launch_rows(launcher, name, launches)
            rows.append(memory_row(launcher, name))
    with ForkServerLauncher(replace(POLICY, mode="pod")) as pod:
        pod.describe()
        rows += launch_rows(pod, "pod mode", launches)
    with ForkServerLauncher(POLICY) as launcher:
        launcher.describe()
        rows.append(rate_row(launcher, launches))
        rows += transfer_rows(launcher)
    layers = ", ".join(name for name in report.layers if report.holds(name))
    rows.append(Row("layers", str(sum(map(report.holds, report.layers))), layers))
    return rows


def markdown(rows: Sequence[Row]) -> str:
    lines = ["| what | value | how |", "|---|---:|---|"]
    lines += [f"| {row.what} | {row.value} | {row.note} |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, default=LAUNCHES)
    launches = parser.parse_args().launches
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}\n")
    print(markdown(sandbox_rows(launches)))


if __name__ == "__main__":
    main()
