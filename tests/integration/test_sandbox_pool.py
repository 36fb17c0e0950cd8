"""Most candidates misbehave: the healthy ones are measured all the same, and nothing is left.

Also what happens when the fork server itself is stopped or killed.
"""

import os
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import RatePoint, Stage
from evocodec.domain.video import Frame, StreamInfo
from evocodec.execution.engine import Engine, ray_engine
from evocodec.execution.jobs import RateJob
from evocodec.sandbox import supervisor
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import MEBIBYTE
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, make_clip
from tests.support.default_options import default_engine_options, default_limits, default_policy
from tests.support.sandbox_jobs import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

CANDIDATES = 20
IN_FLIGHT = 4
LIMITS = default_limits(wall_seconds=2, cpu_seconds=5, memory_bytes=256 * MEBIBYTE)

HEALTHY = (Path(__file__).parents[1] / "data" / "store_codec.py").read_text(encoding="utf-8")


def before_encoding(lines: str) -> str:
    """The healthy codec, with ``lines`` at the beginning of its encoder."""
    start = "    for frame in frames:"
    assert start in HEALTHY
    return HEALTHY.replace(start, textwrap.indent(lines, "    ") + start)


HANGS = before_encoding("while True: pass\n")
FORKS = before_encoding(
    "import os, contextlib\n"
    "for _ in range(1000):\n"
    "    with contextlib.suppress(OSError):\n"
    "        if os.fork() == 0:\n"
    "            os.setsid()\n"
    "            while True: pass\n"
    "os.fork()\n",
)
HOARDS = before_encoding("kept = []\nwhile True: kept.append(bytes(1 << 22))\n")
# Of every ten: three hang, one forks, one takes all memory, five are healthy.
MIX = (HANGS, HEALTHY, HOARDS, HEALTHY, HANGS, HEALTHY, FORKS, HEALTHY, HANGS, HEALTHY)
EXPECTED = {
    HANGS: FailureKind.TIMEOUT,
    FORKS: FailureKind.FORBIDDEN,
    HOARDS: FailureKind.MEMORY,
}


def tiny_clip(count: int = 3) -> Clip:
    stream = StreamInfo(32, 32, Fraction(30), count)
    rng = np.random.default_rng(7)
    frames = tuple(
        Frame(*(rng.integers(16, 235, (side, side), dtype=np.uint8) for side in (32, 16, 16)))
        for _ in range(count)
    )
    return make_clip(ClipSource("tiny", ""), stream, frames)


@pytest.fixture
def engine() -> Iterator[Engine]:
    running = ray_engine(
        default_engine_options(
            limits=LIMITS,
            policy=default_policy(),
            writer_id="v0",
            local_cpus=2,
            grace_seconds=30.0,
            object_store_bytes=128 * MEBIBYTE,
        )
    )
    running.start()
    running.put_clip(tiny_clip())
    yield running
    running.close()


def fork_servers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("evocodec.guest.server" in word for word in process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_a_pool_with_half_its_candidates_misbehaving_scores_the_healthy_ones(
    engine: Engine,
) -> None:
    points: dict[int, RatePoint] = {}
    failures: dict[int, FailureKind] = {}
    retries: list[str] = []

    def evaluate(number: int) -> None:
        try:
            engine.run_jobs(
                f"c{number:04}",
                MIX[number % len(MIX)],
                [RateJob(Stage.SMOKE, "tiny", 3, 30.0)],
                on_point=lambda _job, point: points.update({number: point}),
                on_retry=lambda _task, _count, reason: retries.append(reason),
            )
        except CandidateFailure as failure:
            failures[number] = failure.kind

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(evaluate, range(CANDIDATES)))
    healthy = {number for number in range(CANDIDATES) if MIX[number % len(MIX)] is HEALTHY}
    assert points.keys() == healthy
    assert {point.quality.psnr_y_db for point in points.values()} == {100.0}
    assert len({point.bits for point in points.values()}) == 1
    expected = {n: EXPECTED[MIX[n % len(MIX)]] for n in range(CANDIDATES) if n not in healthy}
    assert failures == expected
    assert retries == []
    # Fork servers stay warm, each with its one inner process, and one more that waits for a job.
    servers = fork_servers()
    assert servers
    tops = [server for server in servers if server.parent() not in servers]
    until(lambda: all(len(top.children(recursive=True)) <= 2 for top in tops))
    engine.close()
    _gone, alive = psutil.wait_procs(servers, timeout=30)
    assert alive == []


def encode(launcher: ForkServerLauncher, seconds: float) -> bytes:
    clip = tiny_clip(1)
    source = f"import time\ndef encode(f, s, q):\n    time.sleep({seconds})\n    yield b'done'\n"
    source += "def decode(p, s):\n    yield from ()\n"
    return b"".join(launcher.encode(source, clip.frames, clip.stream, 30.0, LIMITS).packets)


def whole_family(launcher: ForkServerLauncher) -> list[psutil.Process]:
    server = psutil.Process(launcher.server_pid)
    return [server, *server.children(recursive=True)]


@pytest.mark.parametrize("before_the_job", [True, False])
def test_a_stopped_fork_server_is_replaced_and_costs_a_retry(
    monkeypatch: pytest.MonkeyPatch, before_the_job: bool
) -> None:
    monkeypatch.setattr(supervisor, "SETUP_SECONDS", 1.0)
    monkeypatch.setattr(supervisor, "EXIT_GRACE_SECONDS", 1.0)
    with ForkServerLauncher(default_policy()) as launcher:
        encode(launcher, 0.0)
        family = whole_family(launcher)

        def stop() -> None:
            for process in family:
                os.kill(process.pid, signal.SIGSTOP)

        if before_the_job:
            stop()
        else:
            threading.Timer(0.3, stop).start()
        assert encode(launcher, 0.8) == b"done"
        assert launcher.server_pid != family[0].pid
        _gone, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []


def test_the_first_process_of_a_server_killed_under_a_job_takes_everything_with_it() -> None:
    with ForkServerLauncher(default_policy()) as launcher:
        encode(launcher, 0.0)
        family = whole_family(launcher)
        if len(family) < 2:
            pytest.skip("no process-id namespace here: the server is one process")
        threading.Timer(0.3, os.kill, (family[1].pid, signal.SIGKILL)).start()
        assert encode(launcher, 0.8) == b"done"
        _gone, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []
