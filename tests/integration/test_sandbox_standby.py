"""The process that waits for the next job: nothing depends on it, and nothing is left of it."""

import textwrap
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import psutil
import pytest

from evocodec.domain.video import Frame, StreamInfo
from evocodec.domain.vocabulary import Layer
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import MEBIBYTE, Limits
from tests.support.default_options import default_limits, default_policy

LIMITS = default_limits(wall_seconds=20.0, cpu_seconds=20.0)
STREAM = StreamInfo(width=16, height=16, fps=Fraction(30), frame_count=1)
FRAMES = [Frame(np.zeros((16, 16), np.uint8), *(np.zeros((8, 8), np.uint8),) * 2)]


@pytest.fixture(params=["auto", "pod"])
def launcher(request: pytest.FixtureRequest) -> Iterator[ForkServerLauncher]:
    with ForkServerLauncher(default_policy(mode=request.param, paths_open=True)) as launcher:
        run(launcher, "")
        yield launcher


def run(launcher: ForkServerLauncher, body: str, limits: Limits = LIMITS) -> str:
    """What ``body`` leaves in ``result``."""
    program = (
        "import os\ndef encode(frames, stream, qp):\n    result = ''\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\n    yield str(result).encode()\ndef decode(packets, stream):\n    yield from ()\n"
    )
    return bytes(launcher.encode(program, FRAMES, STREAM, 30.0, limits).packets[0]).decode()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def waiting(launcher: ForkServerLauncher) -> psutil.Process:
    """The youngest process below the server, once there is one beside what always is."""
    server = psutil.Process(launcher.server_pid)
    until(lambda: len(server.children(recursive=True)) == 2)
    return max(server.children(recursive=True), key=lambda one: one.create_time())


def test_the_next_job_is_the_one_that_waited(launcher: ForkServerLauncher) -> None:
    process = waiting(launcher)
    run(launcher, "")
    assert waiting(launcher) != process
    assert not process.is_running()


def test_one_that_has_died_costs_nothing(launcher: ForkServerLauncher) -> None:
    server = launcher.server_pid
    for _ in range(3):
        process = waiting(launcher)
        process.kill()
        process.wait(5)
        assert run(launcher, "result = 'done'") == "done"
    assert launcher.server_pid == server


def test_none_is_made_in_the_place_of_one_that_dies_without_a_job(
    launcher: ForkServerLauncher,
) -> None:
    """So that one which cannot live is not forked for ever."""
    process = waiting(launcher)
    process.kill()
    process.wait(5)
    # The server knows, because it has taken the dead one away; another one would be there at once,
    # and nothing but time shows that none comes.
    time.sleep(0.3)
    assert len(psutil.Process(launcher.server_pid).children(recursive=True)) == 1


def test_a_job_with_another_scratch_gets_its_own(launcher: ForkServerLauncher) -> None:
    if not launcher.describe().holds(Layer.SCRATCH):
        pytest.skip("no scratch folder here")
    body = """
    try:
        with open(os.environ['TMPDIR'] + '/file', 'wb') as file:
            while result == '':
                file.write(bytes(1 << 20))
    except OSError:
        result = os.stat(os.environ['TMPDIR'] + '/file').st_size >> 20
    """
    for mebibytes in (16, 4, 4, 16):
        waiting(launcher)
        limits = default_limits(wall_seconds=20.0, scratch_bytes=mebibytes * MEBIBYTE)
        assert run(launcher, body, limits) == str(mebibytes)


def test_limits_are_those_of_the_job(launcher: ForkServerLauncher) -> None:
    body = "import resource\nresult = resource.getrlimit(resource.RLIMIT_CPU)"
    for seconds in (7, 5):
        waiting(launcher)
        limits = default_limits(wall_seconds=20.0, cpu_seconds=seconds)
        assert run(launcher, body, limits) == f"({seconds}, {seconds})"


def test_it_dies_with_a_fork_server_that_is_killed(launcher: ForkServerLauncher) -> None:
    process, server = waiting(launcher), psutil.Process(launcher.server_pid)
    server.kill()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert run(launcher, "result = 'done'") == "done"
