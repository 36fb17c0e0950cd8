"""The scratch folder of a job: what fits, what does not, and that nobody else ever sees it."""

import contextlib
import sys
import textwrap
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from evocodec.domain.video import Frame, StreamInfo
from evocodec.isolation.mounts import SCRATCH
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import MEBIBYTE, Limits
from tests.support.default_options import default_limits, default_policy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

LIMITS = default_limits(wall_seconds=20, scratch_bytes=2 * MEBIBYTE, scratch_inodes=20)


@pytest.fixture(scope="module")
def launcher() -> Iterator[ForkServerLauncher]:
    with ForkServerLauncher(default_policy(paths_open=True)) as running:
        state = running.describe().layers["scratch"]
        if state.startswith("off"):
            pytest.skip(f"no scratch folder here: {state}")
        yield running


def say(launcher: ForkServerLauncher, body: str, limits: Limits = LIMITS) -> str:
    """What the program puts into ``say``, or the name of its error."""
    program = (
        "import ctypes, errno, mmap, os, sys, tempfile\nfolder = os.environ.get('TMPDIR', '')\n"
        "def encode(frames, stream, qp):\n    say = None\n    try:\n"
        + textwrap.indent(textwrap.dedent(body).strip(), "        ")
        + "\n    except OSError as error:\n        say = errno.errorcode[error.errno]\n"
        "    yield str(say).encode()\ndef decode(packets, stream):\n    yield from ()\n"
    )
    planes = (np.zeros((2, 2), np.uint8), *(np.zeros((1, 1), np.uint8) for _ in "uv"))
    stream = StreamInfo(2, 2, Fraction(30), 1)
    return b"".join(
        launcher.encode(program, [Frame(*planes)], stream, 30.0, limits).packets
    ).decode()


def test_a_job_has_a_folder_to_work_in(launcher: ForkServerLauncher) -> None:
    body = """
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"kept"); file.flush()
        os.rename(file.name, file.name + "x")
        say = os.path.dirname(file.name), open(file.name + "x").read(), os.path.expanduser("~")
        os.rename(file.name + "x", file.name)
    os.mkdir(f"{folder}/deeper"); os.rmdir(f"{folder}/deeper")
    say = *say, os.listdir(folder)
    """
    assert say(launcher, body) == str((SCRATCH, "kept", SCRATCH, []))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("open(f'{folder}/big', 'wb').write(bytes(2 << 20)); say = 'fits'", "fits"),
        (
            "file = open(f'{folder}/big', 'wb', 0); file.write(bytes(2 << 20)); file.write(b'x')",
            "EFBIG",
        ),
        (
            "for name in 'ab': open(f'{folder}/{name}', 'wb', 0).write(bytes(3 << 19));"
            "\nsay = os.stat(folder + '/b').st_blocks // 2",
            "512",
        ),
        (
            "for name in 'abc': open(f'{folder}/{name}', 'wb', 0).write(bytes(3 << 19))",
            "ENOSPC",
        ),
        ("for number in range(20): os.mkdir(f'{folder}/{number}')\nsay = 'fits'", "fits"),
        ("for number in range(21): os.mkdir(f'{folder}/{number}')", "ENOSPC"),
        ("fd = os.open(f'{folder}/s', 66); os.ftruncate(fd, 1 << 40)", "EFBIG"),
        ("os.posix_fallocate(os.open(f'{folder}/s', 66), 0, 4096)", "EPERM"),
    ],
)
def test_it_is_limited_in_bytes_and_inodes(
    launcher: ForkServerLauncher, body: str, expected: str
) -> None:
    assert say(launcher, body) == expected


@pytest.mark.parametrize(
    "body",
    [
        "os.symlink('/', f'{folder}/link')",
        "os.mkfifo(f'{folder}/pipe')",
        "os.open(folder, os.O_TMPFILE | os.O_RDWR)",
        "open(f'{folder}/a', 'w'); os.link(f'{folder}/a', f'{folder}/b')",
        "open(f'{folder}/a', 'w'); os.chmod(f'{folder}/a', 0o777)",
        "fd = os.open(f'{folder}/a', 66); os.ftruncate(fd, 4096)"
        "\nmmap.mmap(fd, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
        "os.mkdir('/scratch/other')",
        "os.rename(folder, '/scratch/other')",
        "os.rmdir(folder)",
        "open('/scratch/file', 'w')",
        "open('/dev/null', 'w')",
        "open(os.__file__, 'a')",
        "open(f'{folder}/../../etc/ld.so.cache', 'r+')",
    ],
)
def test_it_takes_plain_files_that_cannot_be_run_and_nothing_else_does(
    launcher: ForkServerLauncher, body: str
) -> None:
    assert say(launcher, body) in {"EPERM", "EACCES", "EROFS", "EBUSY"}


def test_it_is_new_for_every_job_and_gone_with_it(launcher: ForkServerLauncher) -> None:
    leave = "open(f'{folder}/state', 'w').write('left')\nsay = os.listdir(folder)"
    assert [say(launcher, leave) for _ in range(2)] == ["['state']"] * 2
    assert not Path(SCRATCH).exists()
    mounted = 0
    for process in psutil.Process(launcher.server_pid).children(recursive=True):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            root = Path(f"/proc/{process.pid}/root{SCRATCH}")
            mounted += root.is_mount()
            assert list(root.iterdir()) == []
    assert mounted <= 1  # in the one process that waits for a job


@pytest.mark.parametrize(
    "none", [default_limits(scratch_bytes=0), default_limits(scratch_inodes=0)]
)
def test_there_may_be_none(launcher: ForkServerLauncher, none: Limits) -> None:
    assert say(launcher, "say = folder", none) == ""
    assert say(launcher, f"open('{SCRATCH}/file', 'w')", none) == "EPERM"
    assert say(launcher, f"os.mkdir('{SCRATCH}/folder')", none) == "EPERM"


def test_there_is_none_without_a_mount_namespace() -> None:
    with ForkServerLauncher(default_policy(mode="pod", paths_open=True)) as pod:
        assert pod.describe().layers["scratch"] == "off: pod mode"
        assert say(pod, "say = folder") == ""
        assert say(pod, "open('/tmp/evocodec-scratch', 'w')") == "EPERM"
