"""The sandbox with real processes: no job tells the next anything, and none leaves anything."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind, InfrastructureFailure
from evocodec.sandbox.forkserver import ForkServerLauncher
from tests.support.default_options import default_limits, default_policy
from tests.support.sandbox_jobs import (
    LIMITS,
    STORE,
    clip,
    encode,
    encoder,
    failure,
    settle,
    until,
    until_a_job_runs,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")


@pytest.fixture(scope="module")
def launcher() -> Iterator[ForkServerLauncher]:
    with ForkServerLauncher(default_policy()) as running:
        yield running


# -- one job tells the next nothing --


def test_module_state_does_not_leak_into_the_next_job(launcher: ForkServerLauncher) -> None:
    stain = encoder("import numpy as np, math\nnp.stain = math.stain = sys.stain = 1")
    look = encoder(
        "import numpy as np, math\n"
        "result = repr([hasattr(m, 'stain') for m in (np, math, sys)]).encode()"
    )
    assert encode(launcher, stain) == b"done"
    assert encode(launcher, look) == b"[False, False, False]"


def test_the_decoder_has_nothing_of_the_encoder(launcher: ForkServerLauncher) -> None:
    program = """
import numpy as np
MEMORY = []

def encode(frames, stream, qp):
    MEMORY.extend(frames)
    yield b"nothing"

def decode(packets, stream):
    list(packets)
    yield from MEMORY
"""
    stream, frames = clip(16, 16, 2)
    packets = launcher.encode(program, frames, stream, 30.0, LIMITS).packets
    with pytest.raises(CandidateFailure) as caught:
        launcher.decode(program, packets, stream, LIMITS)
    assert caught.value.kind is FailureKind.BAD_OUTPUT
    assert "0 of 2" in caught.value.message


def test_random_generators_start_alike_in_every_job() -> None:
    body = """
    import random, numpy as np
    result = repr((random.random(), float(np.random.rand()), hash("x"))).encode()
    """
    with (
        ForkServerLauncher(default_policy()) as first,
        ForkServerLauncher(default_policy()) as second,
    ):
        assert len({encode(one, encoder(body)) for one in (first, first, second)}) == 1


# -- nothing is left over --


def test_time_outs_failures_and_successes_leave_no_process(launcher: ForkServerLauncher) -> None:
    encode(launcher, encoder(""))
    idle = settle(launcher, 2)
    assert idle == 2
    fork_storm = "import contextlib\nwhile True:\n    with contextlib.suppress(OSError): os.fork()"
    for body in ("while True: pass", fork_storm, "import time; time.sleep(60)"):
        failure(launcher, encoder(body), default_limits(wall_seconds=0.5))
    encode(launcher, encoder("result = b'ok'"))
    assert settle(launcher, idle) == idle


def test_jobs_leave_no_descriptors_behind(launcher: ForkServerLauncher) -> None:
    encode(launcher, encoder(""))
    own, server = psutil.Process(), psutil.Process(launcher.server_pid)
    family = [own, server, *server.children(recursive=True)]
    before = [process.num_fds() for process in family]
    for body in ("", "1 / 0", "os._exit(1)", "os.write(4, b'junk' * 9)") * 5:
        with contextlib.suppress(CandidateFailure):
            encode(launcher, encoder(body))
    deadline = time.monotonic() + 30  # the server closes a job's socket just after its last word

    def more() -> list[int]:
        # The process that waited for a job has done one since, and is gone.
        now = [process.num_fds() if process.is_running() else 0 for process in family]
        return [count for count, then in zip(now, before, strict=True) if count > then]

    while more() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert more() == []


def test_closing_the_launcher_ends_the_server_and_running_jobs() -> None:
    launcher = ForkServerLauncher(default_policy())
    server = psutil.Process(launcher.server_pid)
    idle = settle(launcher, 2)
    errors: list[Exception] = []

    def sleep() -> None:
        try:
            encode(launcher, encoder("import time; time.sleep(60)"))
        except (CandidateFailure, InfrastructureFailure) as error:
            errors.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    until_a_job_runs(launcher, idle)
    family = [server, *server.children(recursive=True)]
    launcher.close()
    launcher.close()
    thread.join(timeout=30)
    assert isinstance(errors[0], InfrastructureFailure)
    _gone, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []


def test_a_killed_controller_leaves_nothing_running(tmp_path: Path) -> None:
    script = tmp_path / "controller.py"
    script.write_text(
        "import sys\nfrom evocodec.sandbox.forkserver import ForkServerLauncher\n"
        "from evocodec.app.engine import make_limits, make_policy\n"
        "from evocodec.config import Settings\n"
        "from evocodec.domain.video import StreamInfo\n"
        "from fractions import Fraction\n"
        "launcher = ForkServerLauncher(make_policy(Settings()))\n"
        "print(launcher.server_pid, flush=True)\n"
        "program = 'import time\\ntime.sleep(60)'\n"
        "limits = make_limits(Settings())\n"
        "launcher.decode(program, [], StreamInfo(2, 2, Fraction(1), 1), limits)\n"
    )
    controller = psutil.Popen([sys.executable, str(script)], stdout=-1)
    server = psutil.Process(int(controller.stdout.readline()))
    until(lambda: len(server.children(recursive=True)) > 2)  # a job, beside what is always there
    family = [server, *server.children(recursive=True)]
    controller.kill()
    controller.wait()
    controller.stdout.close()
    _gone, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []


def test_a_dead_fork_server_is_replaced_and_the_job_tried_again(
    launcher: ForkServerLauncher,
) -> None:
    first = launcher.server_pid
    os.kill(first, signal.SIGKILL)
    assert encode(launcher, encoder("result = b'again'")) == b"again"
    assert launcher.server_pid != first


def test_a_server_killed_under_a_running_job_costs_only_a_retry(
    launcher: ForkServerLauncher,
) -> None:
    body = "import time; time.sleep(1.5); result = b'survived'"
    results: list[bytes] = []
    thread = threading.Thread(target=lambda: results.append(encode(launcher, encoder(body))))
    idle = settle(launcher, 2)
    thread.start()
    until_a_job_runs(launcher, idle)
    os.kill(launcher.server_pid, signal.SIGKILL)
    thread.join(timeout=30)
    assert results == [b"survived"]


def test_a_server_that_cannot_start_is_an_infrastructure_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with ForkServerLauncher(default_policy()) as launcher, pytest.raises(InfrastructureFailure):
        encode(launcher, STORE)
