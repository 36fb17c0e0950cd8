"""Pod mode's path broker as jobs meet it: what they see, what it costs others, how it dies."""

import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind, InfrastructureFailure
from evocodec.domain.video import Frame, StreamInfo
from evocodec.domain.vocabulary import Layer
from evocodec.isolation import seccomp_notify
from evocodec.sandbox import server_process
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import Limits
from evocodec.sandbox.probe import probe
from tests.support.default_options import default_limits, default_policy
from tests.support.sandbox_jobs import settle, until, until_a_job_runs

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux"),
    pytest.mark.skipif(
        bool(seccomp_notify.why_unavailable()),
        reason=f"no path broker here: {seccomp_notify.why_unavailable()}",
    ),
]
STREAM = StreamInfo(2, 2, Fraction(30), 1)
FRAMES = [Frame(np.zeros((2, 2), np.uint8), *np.zeros((2, 1, 1), np.uint8))]
POD = default_policy(mode="pod", paths_open=True)  # what is asked of it after the imports too
NEEDS_BROKER = replace(POD, floor=(frozenset({Layer.PATH_BROKER}),))
LIMITS = default_limits(wall_seconds=40, cpu_seconds=40)
ENCODINGS = os.path.join(sysconfig.get_paths()["stdlib"], "encodings")


@pytest.fixture(scope="module")
def launcher() -> Iterator[ForkServerLauncher]:
    with ForkServerLauncher(NEEDS_BROKER) as running:
        yield running


def run(launcher: ForkServerLauncher, body: str, limits: Limits = LIMITS) -> str:
    """What ``body`` leaves in ``result``."""
    program = (
        "import os, sys, threading, time\ndef encode(frames, stream, qp):\n    next(frames)\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\n    yield str(result).encode()\ndef decode(packets, stream):\n    yield from ()\n"
    )
    return bytes(launcher.encode(program, FRAMES, STREAM, 30.0, limits).packets[0]).decode()


def broker_of(launcher: ForkServerLauncher) -> psutil.Process:
    """Forked first; the others are jobs, or wait for one."""
    return min(psutil.Process(launcher.server_pid).children(), key=lambda one: one.pid)


def test_pod_mode_has_it_and_a_root_folder_makes_it_needless() -> None:
    assert probe(POD).layers["path_broker"] == "on"
    if (report := probe(default_policy())).holds(Layer.PIVOT_ROOT):
        assert report.layers["path_broker"] == "off: not needed, there is a root folder"


def test_what_is_in_the_view_looks_as_it_is_but_for_access_times(
    launcher: ForkServerLauncher,
) -> None:
    body = f"""
    result = []
    for name in sorted(os.listdir({ENCODINGS!r}))[:20]:
        path = {ENCODINGS!r} + "/" + name
        with open(path, "rb") if os.path.isfile(path) else os.scandir(path) as file:
            size = len(file.read()) if os.path.isfile(path) else 0
        facts = os.stat(path)
        result.append((name, size, facts.st_ino, facts.st_mode, facts.st_mtime_ns))
        assert facts.st_atime_ns == facts.st_mtime_ns
        assert os.access(path, os.R_OK) and not os.access(path, os.W_OK)
    """
    expected = []
    for path in sorted(Path(ENCODINGS).iterdir())[:20]:
        facts = path.stat()
        size = len(path.read_bytes()) if path.is_file() else 0
        expected.append((path.name, size, facts.st_ino, facts.st_mode, facts.st_mtime_ns))
    assert run(launcher, body) == str(expected)


def test_errors_and_relative_paths_are_the_kernels(launcher: ForkServerLauncher) -> None:
    body = f"""
    import errno
    folder = os.open({ENCODINGS!r}, os.O_RDONLY)
    def code(action):
        try: action()
        except OSError as error: return errno.errorcode[error.errno]
        return "fine"
    result = [code(one) for one in (
        lambda: os.close(os.open("ascii.py", os.O_RDONLY, dir_fd=folder)),
        lambda: os.stat("ascii.py", dir_fd=folder), lambda: os.stat("ascii.py", dir_fd=3),
        lambda: os.stat("ascii.py", dir_fd=50), lambda: os.fstat(50), lambda: os.fstat(folder),
        lambda: os.readlink({ENCODINGS!r}), lambda: os.listdir("/"), lambda: os.stat(""),
        lambda: os.open({ENCODINGS!r} + "/ascii.py", os.O_DIRECTORY),
        lambda: os.open({ENCODINGS!r} + "/ascii.py", os.O_RDWR),
        lambda: os.open({ENCODINGS!r} + "/ascii.py", os.O_PATH), lambda: os.dup(3),
        lambda: os.stat("x" * 5000),
    )]
    """
    wanted = "fine fine ENOTDIR EBADF EBADF fine EINVAL EACCES ENOENT ENOTDIR EPERM EPERM EPERM"
    assert run(launcher, body) == str([*wanted.split(), "ENAMETOOLONG"])


def test_descriptors_that_were_given_and_opened_have_a_status(launcher: ForkServerLauncher) -> None:
    body = f"""
    import stat
    kinds = [stat.S_IFMT(os.fstat(fd).st_mode) for fd in range(5)]
    assert kinds == [stat.S_IFCHR] + 4 * [stat.S_IFIFO], kinds
    for number in range(200):
        with open({ENCODINGS!r} + "/ascii.py") as one, open({ENCODINGS!r} + "/cp437.py") as other:
            assert os.fstat(one.fileno()).st_size == len(one.read())
            assert os.fstat(other.fileno()).st_size == len(other.read())
            assert not os.get_inheritable(one.fileno())
    result = "fine"
    """
    assert run(launcher, body) == "fine"


def test_libraries_load_lazily_and_compile_from_many_threads(launcher: ForkServerLauncher) -> None:
    if not (Path(sysconfig.get_paths()["purelib"]) / "numba").is_dir():
        pytest.skip("numba is not installed")
    body = f"""
    import importlib
    names = [f"encodings.cp125{{number}}" for number in range(8)]
    def load(name):
        importlib.import_module(name)
        for _ in range(50):
            open({ENCODINGS!r} + "/ascii.py").close()
    threads = [threading.Thread(target=load, args=(name,)) for name in names]
    for thread in threads: thread.start()
    import scipy.signal, numba
    add = numba.njit(lambda a, b: a + b)
    for thread in threads: thread.join()
    result = add(1, int(scipy.signal.fftconvolve([1.0, 0], [2.0, 0])[0]))
    """
    assert run(launcher, body) == "3"


def test_a_flood_of_one_job_does_not_starve_the_others(launcher: ForkServerLauncher) -> None:
    flood = """
    done, counts = time.monotonic() + 3, [0] * 12
    def ask(index):
        while time.monotonic() < done:
            os.path.exists("/etc/passwd")
            counts[index] += 1
    threads = [threading.Thread(target=ask, args=(index,)) for index in range(12)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    result = sum(counts)
    """
    counts: list[int] = []
    flooding = threading.Thread(target=lambda: counts.append(int(run(launcher, flood))))
    broker = broker_of(launcher)
    before = sum(broker.cpu_times()[:2])
    flooding.start()
    until(lambda: sum(broker.cpu_times()[:2]) > before + 0.1)
    calm = "for _ in range(300): os.stat(os.__file__)\nresult = 'done'"
    assert run(launcher, calm) == "done"
    assert flooding.is_alive()
    flooding.join()
    assert counts[0] > 1000


def test_jobs_leave_nothing_in_the_broker(launcher: ForkServerLauncher) -> None:
    run(launcher, "result = len(os.listdir(os.path.dirname(os.__file__) + '/encodings'))")
    broker = broker_of(launcher)
    before = broker.num_fds()
    body = (
        f"kept = [os.open({ENCODINGS!r} + '/ascii.py', 0) for _ in range(40)]\nresult = len(kept)"
    )
    for _ in range(5):
        assert run(launcher, body) == "40"
    deadline = time.monotonic() + 30
    while broker.num_fds() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert broker.num_fds() == before


MANY_THREADS = """
    started = []
    def grow():
        try:
            while True:
                threading.Thread(target=grow, daemon=True).start()
                started.append(1)
        except RuntimeError: time.sleep(1)
    grow()
    result = len(started)
"""


def test_it_stops_a_job_at_its_own_limit_of_threads(launcher: ForkServerLauncher) -> None:
    limits = default_limits(processes=9)
    assert int(run(launcher, MANY_THREADS, limits)) == 7  # beside the first, and the watchdog's


def test_it_holds_no_privilege_and_dies_with_the_fork_server() -> None:
    with ForkServerLauncher(NEEDS_BROKER) as launcher:
        launcher.describe()
        broker = broker_of(launcher)
        status = Path(f"/proc/{broker.pid}/status").read_text(encoding="utf-8")
        facts = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
        assert (facts["NoNewPrivs"], int(facts["CapEff"], 16)) == ("1", 0)
        assert int(facts["Threads"]) == 1
        assert broker.memory_info().rss < psutil.Process(launcher.server_pid).memory_info().rss
        os.kill(launcher.server_pid, signal.SIGKILL)
        broker.wait(5)


def test_a_killed_broker_costs_a_retry_and_blames_nobody() -> None:
    with ForkServerLauncher(NEEDS_BROKER) as launcher:
        launcher.describe()
        idle = settle(launcher, 2)  # the broker, and one that waits for a job
        results: list[str] = []
        body = "time.sleep(1.5)\nos.stat(os.__file__)\nresult = 'survived'"
        thread = threading.Thread(target=lambda: results.append(run(launcher, body)))
        thread.start()
        until_a_job_runs(launcher, idle)
        broker = broker_of(launcher)
        broker.kill()
        thread.join(timeout=30)
        assert results == ["survived"]


def test_a_stopped_broker_costs_a_retry_and_blames_nobody() -> None:
    with ForkServerLauncher(NEEDS_BROKER) as launcher:
        launcher.describe()
        idle = settle(launcher, 2)  # the broker, and one that waits for a job
        results: list[str] = []
        body = "time.sleep(0.8)\nos.stat(os.__file__)\nresult = 'survived'"
        limits = default_limits(wall_seconds=2)
        thread = threading.Thread(target=lambda: results.append(run(launcher, body, limits)))
        thread.start()
        until_a_job_runs(launcher, idle)
        broker = broker_of(launcher)
        broker.suspend()
        thread.join(timeout=40)
        assert results == ["survived"]
        broker.wait(5)


@pytest.mark.parametrize("what", ["pass", "os.path.exists('/etc/passwd')"])
def test_a_program_that_takes_too_long_is_to_blame_however_busy_it_keeps_the_broker(
    launcher: ForkServerLauncher, what: str
) -> None:
    body = f"""
    def ask():
        while True: {what}
    for _ in range(10): threading.Thread(target=ask).start()
    ask()
    """
    server = launcher.server_pid
    with pytest.raises(CandidateFailure) as caught:
        run(launcher, body, default_limits(wall_seconds=1.5))
    assert caught.value.kind is FailureKind.TIMEOUT
    assert launcher.server_pid == server


ALONE = """
import os, signal, socket, time
from evocodec.isolation import broker_process, linux
broker = broker_process.BrokerProcess()
broker.set_up({"allowed_paths": ["/usr"], "listable": [], "links": {}, "devices": []}, -1, user=-1)
linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
own = [os.open("/proc/self/mem", os.O_RDWR), os.open("/proc/self/task", os.O_DIRECTORY)]
pid, fd = broker.pid, os.dup(broker.fd)
print(broker.state, broker_process.enter(fd, own, most_threads=2, devices=False))
print(os.path.isdir("/usr"), os.path.exists("/etc"))
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
for path in ("/usr", "/etc/passwd", "/missing"):
    try: print(open(path))
    except OSError as error: print(error.errno)
"""


def test_without_its_broker_a_job_opens_nothing_at_all() -> None:
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.split() == ["on", "on", "True", "False", "38", "38", "38"], done.stderr


def test_where_there_is_none_the_reason_is_told_and_a_floor_may_ask_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = (
        "from evocodec.isolation import seccomp_notify\n"
        "seccomp_notify.why_unavailable = lambda: 'an old kernel'\n"
    )
    first, second, last = server_process._BOOT.split("; ", 2)
    monkeypatch.setattr(server_process, "_BOOT", "\n".join((first, second, lines + last)))
    with ForkServerLauncher(NEEDS_BROKER) as launcher:
        assert launcher.describe().layers["path_broker"] == "off: an old kernel"
        with pytest.raises(InfrastructureFailure, match="path_broker"):
            run(launcher, "result = 'ran'")


def test_it_comes_where_namespaces_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "import errno\nfrom evocodec.isolation import linux\n" + (
        "def unshare(flags): raise OSError(errno.EPERM, 'refused')\nlinux.unshare = unshare\n"
    )
    first, second, last = server_process._BOOT.split("; ", 2)
    monkeypatch.setattr(server_process, "_BOOT", "\n".join((first, second, lines + last)))
    with ForkServerLauncher(default_policy(paths_open=True)) as launcher:
        assert launcher.describe().layers["path_broker"] == "on"
        assert run(launcher, "result = os.path.exists('/etc/passwd')") == "False"
