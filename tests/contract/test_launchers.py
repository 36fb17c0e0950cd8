"""What every Launcher promises, run over each provider that this machine has."""

import contextlib
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind, InfrastructureFailure
from evocodec.domain.video import Frame, StreamInfo
from evocodec.domain.vocabulary import Layer
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import DEFAULT_FLOOR, MEBIBYTE, Limits
from evocodec.sandbox.providers.bubblewrap import BubblewrapLauncher
from tests.support.default_options import default_limits, default_policy
from tests.support.sandbox_jobs import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

LIMITS = default_limits(wall_seconds=20, cpu_seconds=20, memory_bytes=512 * MEBIBYTE)
STREAM = StreamInfo(35, 21, Fraction(25), 3)
STORE = (Path(__file__).parents[1] / "data" / "store_codec.py").read_text()

Provider = Callable[[], ForkServerLauncher]


def why_bubblewrap_cannot_run() -> str:
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (apt-get install bubblewrap)"
    trial = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    outcome = subprocess.run(trial, capture_output=True, text=True, check=False)
    return outcome.stderr.strip()


def provider_for(name: str) -> Provider:
    if name == "bubblewrap":
        if reason := why_bubblewrap_cannot_run():
            pytest.skip(reason)
        return lambda: BubblewrapLauncher(default_policy())
    if name == "pod mode":
        return lambda: ForkServerLauncher(default_policy(mode="pod"))
    return lambda: ForkServerLauncher(default_policy())


@pytest.fixture(scope="module", params=["fork server", "pod mode", "bubblewrap"])
def provider(request: pytest.FixtureRequest) -> Provider:
    return provider_for(request.param)


@pytest.fixture(scope="module")
def launcher(provider: Provider) -> Iterator[ForkServerLauncher]:
    with provider() as running:
        yield running


def frames_of(stream: StreamInfo) -> list[Frame]:
    rng = np.random.default_rng(7)
    luma = (stream.height, stream.width)
    chroma = (stream.chroma_height, stream.chroma_width)
    shapes = (luma, chroma, chroma)
    return [
        Frame(*(rng.integers(0, 256, shape, np.uint8) for shape in shapes))
        for _ in range(stream.frame_count)
    ]


def encoder(body: str) -> str:
    """A program whose ``encode`` runs ``body`` and then yields its ``result``."""
    return (
        "import os, sys\n"
        "def encode(frames, stream, qp):\n    result = b'done'\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\n    yield result\n"
        "def decode(packets, stream):\n    yield from ()\n"
    )


def encode(launcher: ForkServerLauncher, body: str, limits: Limits = LIMITS) -> bytes:
    encoded = launcher.encode(encoder(body), frames_of(STREAM), STREAM, 30.0, limits)
    return b"".join(encoded.packets)


def failure(launcher: ForkServerLauncher, body: str, limits: Limits = LIMITS) -> CandidateFailure:
    with pytest.raises(CandidateFailure) as caught:
        encode(launcher, body, limits)
    return caught.value


def processes_of(launcher: ForkServerLauncher) -> list[psutil.Process]:
    first = psutil.Process(launcher.server_pid)
    return [first, *first.children(recursive=True)]


def wait_until_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=30)[1]


# -- what works --


def test_frames_survive_a_round_trip_through_two_sandboxes(launcher: ForkServerLauncher) -> None:
    frames = frames_of(STREAM)
    encoded = launcher.encode(STORE, frames, STREAM, 30.0, LIMITS)
    decoded = launcher.decode(STORE, encoded.packets, STREAM, LIMITS)
    for before, after in zip(frames, decoded.frames, strict=True):
        assert all(np.array_equal(left, right) for left, right in zip(before, after, strict=True))
    assert encoded.use.wall_seconds > 0
    assert encoded.use.peak_memory_bytes > MEBIBYTE


def test_many_threads_may_use_one_launcher(launcher: ForkServerLauncher) -> None:
    def number(index: int) -> bytes:
        return encode(launcher, f"result = b'{index}'")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(number, range(12))) == [str(index).encode() for index in range(12)]


def test_the_launcher_outlives_the_thread_that_first_used_it(provider: Provider) -> None:
    with provider() as launcher:
        thread = threading.Thread(target=encode, args=(launcher, ""))
        thread.start()
        of_thread = Path(f"/proc/self/task/{thread.native_id}")
        thread.join()
        # Linux kills what should die with a thread before it forgets the thread.
        until(lambda: not of_thread.exists())
        server = psutil.Process(launcher.server_pid)
        before = {process.pid for process in server.children(recursive=True)}
        assert encode(launcher, "") == b"done"
        gone = before - {process.pid for process in server.children(recursive=True)}
        assert len(gone) <= 1  # the one that waited for a job
        assert launcher.server_pid == server.pid
        assert server.is_running()


def test_the_allowed_libraries_can_be_imported(launcher: ForkServerLauncher) -> None:
    body = "import numpy, cv2, scipy.fft, scipy.ndimage, constriction\nresult = b'all'"
    assert encode(launcher, body) == b"all"


def test_the_layers_meet_the_default_floor(launcher: ForkServerLauncher) -> None:
    report = launcher.describe()
    assert report.missing_for(DEFAULT_FLOOR) == ()
    assert report.holds(Layer.NO_NEW_PRIVS)


# -- whose fault --


def test_an_exception_is_the_programs_and_quotes_its_line(launcher: ForkServerLauncher) -> None:
    caught = failure(launcher, "raise ValueError('no such block')")
    assert caught.kind is FailureKind.EXCEPTION
    assert "no such block" in caught.message


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("while True: pass", FailureKind.TIMEOUT),
        ("result = bytearray(1 << 40)", FailureKind.MEMORY),
        ("os.abort()", FailureKind.CRASH),
        ("os._exit(0)", FailureKind.CRASH),
        ("result = 'text'", FailureKind.BAD_OUTPUT),
        ("os.write(4, b'\\xff' * 100)\nwhile True: pass", FailureKind.BAD_OUTPUT),
    ],
)
def test_what_a_program_does_to_itself_is_classified(
    launcher: ForkServerLauncher, body: str, kind: FailureKind
) -> None:
    limits = default_limits(wall_seconds=1.5, cpu_seconds=2, memory_bytes=128 * MEBIBYTE)
    assert failure(launcher, body, limits).kind is kind
    assert encode(launcher, "") == b"done"


# -- what is stopped --


@pytest.mark.parametrize(
    "body",
    [
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_STREAM)",
        "import socket\nsocket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "open('/etc/passwd').read()",
        "open('/proc/1/environ', 'rb').read()",
        "open('/proc/self/mem', 'rb').read(1)",
        "os.listdir('/home')",
        "open('/tmp/left-behind', 'w')",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 9)",
        "os.kill(-1, 9)",
        "os.unlink(os.__file__)",
        "os.chmod(os.__file__, 0o777)",
        "os.mkdir('/dev/shm/left-behind')",
        "os.setuid(0)",
    ],
)
def test_what_a_codec_never_needs_is_refused(launcher: ForkServerLauncher, body: str) -> None:
    attempt = (
        f"try:\n{textwrap.indent(body, '    ')}\nexcept OSError as e:\n    result = b'refused'"
    )
    assert encode(launcher, attempt) == b"refused"


def test_nothing_of_the_callers_environment_is_visible(
    launcher: ForkServerLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOCODEC_TEST_SECRET", "very secret")
    assert b"SECRET" not in encode(launcher, "result = repr(sorted(os.environ.items())).encode()")


def test_memory_written_by_one_job_is_not_seen_by_the_next(launcher: ForkServerLauncher) -> None:
    assert encode(launcher, "import math\nmath.note = 1\nresult = b'noted'") == b"noted"
    assert encode(launcher, "import math\nresult = repr(hasattr(math, 'note')).encode()") == (
        b"False"
    )


# -- ends --


def test_a_killed_fork_server_is_replaced(provider: Provider) -> None:
    with provider() as launcher:
        assert encode(launcher, "") == b"done"
        lost = processes_of(launcher)
        lost[0].kill()
        assert encode(launcher, "") == b"done"
        assert wait_until_gone(lost[1:]) == []


def test_no_process_outlives_its_launcher(provider: Provider) -> None:
    launcher = provider()
    started: list[psutil.Process] = []
    with launcher, ThreadPoolExecutor(1) as pool:
        assert encode(launcher, "") == b"done"
        running = pool.submit(encode, launcher, "import time\ntime.sleep(60)")
        deadline = time.monotonic() + 5
        idle = len(processes_of(launcher))
        while len(started) <= idle and time.monotonic() < deadline:
            time.sleep(0.02)
            with contextlib.suppress(psutil.NoSuchProcess):
                started = processes_of(launcher)
        launcher.close()
        with pytest.raises((InfrastructureFailure, CandidateFailure)):
            running.result()
    assert wait_until_gone(started) == []


def test_a_closed_launcher_says_so(provider: Provider) -> None:
    launcher = provider()
    launcher.close()
    launcher.close()
    with pytest.raises(InfrastructureFailure, match="closed"):
        encode(launcher, "")
