"""The sandbox with real processes on machines that offer less, its floor and its report."""

import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind, InfrastructureFailure
from evocodec.domain.video import StreamInfo
from evocodec.domain.vocabulary import Layer
from evocodec.sandbox import server_process
from evocodec.sandbox.conformance import check_determinism
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.probe import probe
from tests.support.default_options import default_limits, default_policy
from tests.support.sandbox_jobs import LIMITS, STORE, clip, encode, encoder, failure, same, settle

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")


@pytest.fixture(scope="module")
def launcher() -> Iterator[ForkServerLauncher]:
    with ForkServerLauncher(default_policy()) as running:
        yield running


# -- machines that offer less --


def weaken(
    monkeypatch: pytest.MonkeyPatch,
    *,
    namespaces: bool = True,
    seccomp: bool = True,
    landlock: bool = True,
) -> None:
    """Take layers away in the fork server, as another kernel or container would."""
    lines = ["import errno", "from evocodec.isolation import landlock, linux, seccomp"]
    if not namespaces:
        lines += ["def unshare(flags): raise OSError(errno.EPERM, 'refused')",
                  "linux.unshare = unshare"]  # fmt: skip
    if not landlock:
        lines += ["def abi_version(): raise OSError(errno.ENOSYS, 'not here')",
                  "landlock.abi_version = abi_version"]  # fmt: skip
    if not seccomp:
        lines.append("seccomp.supported = lambda: False")
    head, _, tail = server_process._BOOT.partition("; ")
    middle, _, last = tail.partition("; ")
    boot = "\n".join((head, middle, *lines, last))
    monkeypatch.setattr(server_process, "_BOOT", boot)


DAEMON = """
import time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True: time.sleep(1)
    os._exit(0)
time.sleep(0.2)
"""


@pytest.mark.parametrize("namespaces", [True, False])
def test_a_daemon_dies_with_its_job_even_where_forking_is_possible(
    monkeypatch: pytest.MonkeyPatch, namespaces: bool
) -> None:
    if namespaces and not probe(default_policy()).holds(Layer.PID_NAMESPACE):
        pytest.skip("no process-id namespaces here")
    weaken(monkeypatch, namespaces=namespaces, seccomp=False)
    policy = default_policy(floor=(frozenset({Layer.RLIMITS}),))
    with ForkServerLauncher(policy) as launcher:
        assert launcher.describe().holds(Layer.PID_NAMESPACE) == namespaces
        idle = settle(launcher, 2 if namespaces else 1)
        assert encode(launcher, encoder(DAEMON + "result = b'forked'")) == b"forked"
        failure(launcher, encoder(DAEMON + "time.sleep(60)"), default_limits(wall_seconds=1))
        assert settle(launcher, idle) == idle


def test_without_namespaces_the_other_layers_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    weaken(monkeypatch, namespaces=False, seccomp=True)
    with ForkServerLauncher(default_policy()) as launcher:
        report = launcher.describe()
        assert not report.holds(Layer.NET_NAMESPACE)
        assert report.missing_for(default_policy().floor) == ()
        for body in (
            "import socket; socket.socket()",
            "os.fork()",
            "os.kill(os.getppid(), 9)",
            "open('/proc/self/environ')",
            "open('/etc/passwd')",
        ):
            assert failure(launcher, encoder(body)).kind is FailureKind.FORBIDDEN
        too_many = "import threading, time\nfor _ in range(200): " + (
            "threading.Thread(target=time.sleep, args=(30,), daemon=True).start()"
        )
        limits = default_limits(wall_seconds=10, processes=16)
        caught = failure(launcher, encoder(too_many + "\ntime.sleep(30)"), limits)
        assert "thread" in caught.message


def test_without_landlock_no_file_can_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    weaken(monkeypatch, landlock=False, namespaces=False)
    with ForkServerLauncher(default_policy()) as launcher:
        report = launcher.describe()
        assert not report.holds(Layer.LANDLOCK)
        assert report.holds(Layer.READ_ONLY_FILES)
        for path in ("/etc/passwd", "/proc/self/environ", os.__file__):
            assert failure(launcher, encoder(f"open({path!r})")).kind is FailureKind.FORBIDDEN
        body = "import scipy.fft, fractions, heapq\nresult = str(scipy.fft.dct([1.0])[0]).encode()"
        assert encode(launcher, encoder(body)) == b"2.0"
        stream, frames = clip(35, 21, 2)
        packets = launcher.encode(STORE, frames, stream, 30.0, LIMITS).packets
        assert same(launcher.decode(STORE, packets, stream, LIMITS).frames, frames)


# -- the floor, the report, repeatability --


def test_the_probe_reports_what_jobs_run_behind() -> None:
    report = probe(default_policy())
    assert report.holds(Layer.NO_NEW_PRIVS)
    assert report.holds(Layer.RLIMITS)
    assert report.missing_for(default_policy().floor) == ()


def test_nothing_runs_below_the_floor() -> None:
    policy = default_policy(floor=(frozenset({cast(Layer, "a_layer_of_the_future")}),))
    with ForkServerLauncher(policy) as launcher:
        with pytest.raises(InfrastructureFailure, match="a_layer_of_the_future"):
            encode(launcher, STORE)
        assert launcher.describe().missing_for(policy.floor) == ("a_layer_of_the_future",)


def test_a_decoder_that_depends_on_its_environment_is_caught(
    launcher: ForkServerLauncher,
) -> None:
    program = """
import os
import numpy as np

def encode(frames, stream, qp):
    yield b""

def decode(packets, stream):
    level = int(os.environ.get("OMP_NUM_THREADS", "0"))
    for index in range(stream.frame_count):
        y = np.zeros((stream.height, stream.width), np.uint8)
        c = np.zeros((stream.chroma_height, stream.chroma_width), np.uint8)
        if index == 1:
            c = c + np.uint8(level)
        yield y, c, np.zeros_like(c)
"""
    stream = StreamInfo(16, 16, Fraction(30), 3)
    first = launcher.decode(program, [b""], stream, LIMITS).frames
    check_determinism(launcher, program, [b""], stream, LIMITS, first)
    with (
        ForkServerLauncher(default_policy(), env={"OMP_NUM_THREADS": "2"}) as other,
        pytest.raises(CandidateFailure) as caught,
    ):
        check_determinism(other, program, [b""], stream, LIMITS, first)
    assert caught.value.kind is FailureKind.NONDETERMINISTIC
    assert "frame 1, plane u" in caught.value.message
