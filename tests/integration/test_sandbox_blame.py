"""Blame: what a loaded or odd machine does to an honest program is never the program's failure.

And what a program does to itself stays its own, however it tries to be excused.
"""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from evocodec.domain.errors import FailureKind, InfrastructureFailure
from evocodec.sandbox.cgroups import mounted_groups
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import MEBIBYTE, Limits, Mode
from evocodec.sandbox.watch import look
from tests.support.default_options import default_limits, default_policy
from tests.support.sandbox_jobs import LIMITS, clip, encode, encoder, failure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

STREAM, FRAMES = clip(16, 16, 1)
SLEEPS = encoder("import time\ntime.sleep(0.6)")


@pytest.fixture(scope="module", params=["auto", "pod"])
def launcher(request: pytest.FixtureRequest) -> Iterator[ForkServerLauncher]:
    mode: Mode = request.param
    with ForkServerLauncher(default_policy(mode=mode)) as running:
        encode(running, encoder(""))
        yield running


def job_of(launcher: ForkServerLauncher) -> int:
    """The process that runs a program that sleeps: its parent is the server, and it has a name."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for process in psutil.Process(launcher.server_pid).children(recursive=True):
            try:  # the job alone has a second thread: its watchdog
                if process.num_threads() == 2:
                    return process.pid
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.01)
    raise AssertionError("no job was seen")


def outcome(launcher: ForkServerLauncher, program: str, limits: Limits = LIMITS) -> str:
    """``done``, or why the machine failed; a failure of the program passes through."""
    try:
        return encode(launcher, program, limits).decode()
    except InfrastructureFailure as lost:
        return str(lost)


@contextmanager
def beside(action: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield
    finally:
        thread.join()


# -- the machine's fault --


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_from_outside_fails_no_program(
    launcher: ForkServerLauncher, number: signal.Signals
) -> None:
    with beside(lambda: os.kill(job_of(launcher), number)):
        found = outcome(launcher, SLEEPS)  # the first process of a namespace may live
    assert found == "done" or "from outside" in found or f"killed by {number.name}" in found


def test_a_program_that_was_stopped_for_longer_than_its_limit_goes_on(
    launcher: ForkServerLauncher,
) -> None:
    def stop() -> None:
        pid = job_of(launcher)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1.6)
        os.kill(pid, signal.SIGCONT)

    limits = default_limits(wall_seconds=1.5)
    with beside(stop):
        assert encode(launcher, SLEEPS, limits) == b"done"


def test_a_caller_that_is_slow_costs_the_program_no_time(launcher: ForkServerLauncher) -> None:
    def slow(_index: int, _packet: bytes) -> None:
        time.sleep(0.7)

    program = encoder("for number in range(4): yield bytes(1)")
    limits = default_limits(wall_seconds=1.0)
    launcher.encode(program, FRAMES, STREAM, 30.0, limits, on_packet=slow)


def test_a_busy_machine_fails_no_program_for_its_own_slowness() -> None:
    computes = encoder(
        "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    )
    hog = [sys.executable, "-S", "-c", "while True: pass"]
    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mine)})
        with ExitStack() as hogs, ForkServerLauncher(default_policy()) as launcher:
            launcher.describe()
            for _ in range(4):
                process = subprocess.Popen(hog)
                hogs.callback(process.wait)
                hogs.callback(process.kill)
            os.sched_setaffinity(0, mine)
            found = outcome(launcher, computes, default_limits(wall_seconds=1.0))
        assert found == "done" or "too busy" in found
    finally:
        os.sched_setaffinity(0, mine)


@pytest.mark.parametrize("left", [0, 3, 6])
def test_a_lack_of_descriptors_is_our_failure_and_leaves_none_open(
    launcher: ForkServerLauncher, left: int
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = {int(name) for name in os.listdir("/proc/self/fd")}
    free = [number for number in range(soft) if number not in before]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[left], hard))
        found = outcome(launcher, encoder(""))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "open files" in found
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert encode(launcher, encoder("")) == b"done"


ONE_JOB = """
import os, sys
from evocodec.domain.errors import CandidateFailure, InfrastructureFailure
from evocodec.sandbox.forkserver import ForkServerLauncher
from tests.support.default_options import default_policy
from tests.support.sandbox_jobs import encode, encoder

report = os.open(sys.argv[1], os.O_WRONLY)
os.dup2(report, 200)
os.close(report)
exec(sys.argv[2])
try:
    with ForkServerLauncher(default_policy(mode=sys.argv[3])) as launcher:
        outcome = encode(launcher, encoder("")).decode()
except (CandidateFailure, InfrastructureFailure) as error:
    outcome = f"{type(error).__name__}: {error}"
os.write(200, outcome.encode())
"""
RUDE_SHELL = """
import resource, signal
for fd in (0, 1, 2): os.close(fd)
os.umask(0o777)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
for name, value in (("CPU", 30), ("FSIZE", 1 << 12), ("NOFILE", 210), ("STACK", 1 << 20)):
    which = getattr(resource, f"RLIMIT_{name}")
    resource.setrlimit(which, (value, resource.getrlimit(which)[1]))
os.environ.update(TMPDIR="/nonexistent/" + "x" * 200, LANG="xx_YY", PYTHONHOME="/nonexistent",
                  PYTHONPATH="/nonexistent", OMP_NUM_THREADS="64", LD_PRELOAD="/nonexistent.so")
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.nice(10)
"""


def hard_limit(name: str, value: int) -> str:
    return f"import resource\nresource.setrlimit(resource.RLIMIT_{name}, ({value}, {value}))\n"


@pytest.mark.parametrize("mode", ["auto", "pod"])
def test_a_shell_that_hands_on_odd_settings_fails_no_program(tmp_path: Path, mode: Mode) -> None:
    report = tmp_path / "report"
    report.touch()
    words = [sys.executable, "-c", ONE_JOB, str(report), RUDE_SHELL, mode]
    subprocess.run(words, check=False, timeout=300)
    assert report.read_text() == "done"


@pytest.mark.parametrize(("limit", "value"), [("CPU", 10), ("STACK", 1 << 20)])
def test_a_limit_of_the_shell_below_a_jobs_own_is_named_and_not_the_programs(
    tmp_path: Path, limit: str, value: int
) -> None:
    report = tmp_path / "report"
    report.touch()
    words = [sys.executable, "-c", ONE_JOB, str(report), hard_limit(limit, value), "auto"]
    subprocess.run(words, check=False, timeout=300)
    assert report.read_text().startswith("InfrastructureFailure")
    assert f"RLIMIT_{limit}" in report.read_text()


OUTER_LIMIT = """
import os, sys
from pathlib import Path
from evocodec.domain.errors import CandidateFailure, InfrastructureFailure
from evocodec.sandbox.forkserver import ForkServerLauncher
from tests.support.default_options import default_policy
from tests.support.sandbox_jobs import encode, encoder

group = Path(sys.argv[1])
(group / "cgroup.procs").write_text(str(os.getpid()))
THREADS = encoder('''
import threading
gate = threading.Event()
threads = [threading.Thread(target=gate.wait) for _ in range({})]
try:
    for thread in threads: thread.start()
finally:
    gate.set()
''')
with ForkServerLauncher(default_policy(mode=sys.argv[2])) as launcher:
    encode(launcher, encoder(""))
    for room, count in ((6, 10), (100, 10), (100, 40)):
        now = int((group / "pids.current").read_text())
        (group / "pids.max").write_text(str(now + room))
        try:
            print(encode(launcher, THREADS.replace("{}", str(count))).decode())
        except (CandidateFailure, InfrastructureFailure) as error:
            print(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def process_group() -> Iterator[Path]:
    """A control group below our own, which limits processes."""
    own, mounts = (Path(f"/proc/self/{name}").read_text() for name in ("cgroup", "mountinfo"))
    folders = mounted_groups(own, mounts)
    folder = folders.get("pids")
    if folder is None or not os.access(folder, os.W_OK):
        pytest.skip("no control group on processes can be made here")
    group = folder / f"evocodec-test-{os.getpid()}"
    group.mkdir()
    yield group
    deadline = time.monotonic() + 20
    while not removed(group) and time.monotonic() < deadline:
        time.sleep(0.05)


def removed(group: Path) -> bool:
    for below in (*(path for path in group.iterdir() if path.is_dir()), group):
        try:
            below.rmdir()
        except OSError:
            return False
    return True


@pytest.mark.parametrize("mode", ["auto", "pod"])
def test_a_limit_on_processes_around_us_fails_no_program_and_its_own_does(
    process_group: Path, mode: Mode
) -> None:
    words = [sys.executable, "-c", OUTER_LIMIT, str(process_group), mode]
    done = subprocess.run(words, check=True, timeout=300, capture_output=True, text=True)
    around, enough, own = done.stdout.splitlines()
    assert around.startswith("InfrastructureFailure")
    assert "pids.max of" in around
    assert enough == "done"
    assert own.startswith("CandidateFailure")


def test_a_process_is_seen_as_the_kernel_shows_it() -> None:
    body = "import sys, threading\nt = threading.Thread(target=sys.stdin.read)\nt.start()\nprint(1)"
    with subprocess.Popen(
        [sys.executable, "-c", body], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = look(process.pid)
        assert found is not None
        assert (found.threads, found.resident_bytes > 1 << 20) == (2, True)
        process.communicate(b"")
    assert look(process.pid) is None


# -- the program's fault --


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ("import time\nwhile True: time.sleep(0.01)", {FailureKind.TIMEOUT}),
        ("while True: pass", {FailureKind.TIMEOUT}),
        (
            "import threading\nthreading.Lock().acquire()\nimport time\ntime.sleep(60)",
            {FailureKind.TIMEOUT},
        ),
        ("import signal\nos.kill(os.getpid(), signal.SIGSTOP)", {FailureKind.FORBIDDEN}),
        ("import signal\nos.kill(os.getpid(), signal.SIGKILL)", {FailureKind.FORBIDDEN}),
        ("import signal\nsignal.raise_signal(signal.SIGTERM)", {FailureKind.FORBIDDEN}),
        ("os._exit(0)", {FailureKind.CRASH}),
        ("os._exit(2)", {FailureKind.CRASH}),
        ("os.write(4, bytes([2, 0, 0, 0, 0]))\nos._exit(1)", {FailureKind.BAD_OUTPUT}),
        ("os.write(4, bytes([8, 0, 0, 0, 0]))\nos._exit(1)", {FailureKind.BAD_OUTPUT}),
        (
            "import threading, time\n"
            "more = lambda: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
            "for _ in range(99): more()",
            {FailureKind.EXCEPTION, FailureKind.FORBIDDEN},
        ),
        ("keep = []\nwhile True: keep.append(bytes(1 << 22))", {FailureKind.MEMORY}),
    ],
)
def test_what_a_program_does_to_itself_stays_its_own(
    launcher: ForkServerLauncher, body: str, kinds: set[FailureKind]
) -> None:
    limits = default_limits(wall_seconds=1.0, memory_bytes=128 * MEBIBYTE)
    assert failure(launcher, encoder(body), limits).kind in kinds


def test_an_abort_is_called_by_its_name(launcher: ForkServerLauncher) -> None:
    caught = failure(launcher, encoder("os.abort()"), LIMITS)
    assert (caught.kind, "SIGABRT" in caught.message) == (FailureKind.CRASH, True)


def test_a_program_too_large_for_its_memory_is_told_so_and_not_that_it_crashed() -> None:
    """A claimed size of 16384 × 16384 and ten million frames, as 28 bytes of a file can hold."""
    limits = default_limits(wall_seconds=3.9e10, memory_bytes=64 * MEBIBYTE)
    with ForkServerLauncher(default_policy()) as launcher:
        caught = failure(launcher, encoder("import numpy\nnumpy.zeros((16384, 16384))"), limits)
    assert caught.kind is FailureKind.MEMORY
