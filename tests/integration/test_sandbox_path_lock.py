"""After a program's imports no call of its job takes a path: nothing is left for a decoder."""

import os
import sys
import textwrap
from collections.abc import Iterator

import numpy as np
import pytest

from evocodec.domain.errors import FailureKind, InfrastructureFailure
from evocodec.domain.vocabulary import Layer
from evocodec.sandbox import server_process
from evocodec.sandbox.forkserver import ForkServerLauncher
from tests.support.default_options import default_policy
from tests.support.sandbox_jobs import KEEPS_CTYPES, LIMITS, clip, encode, encoder, failure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

BITS = 64
# A name that was looked up is found missing sooner when it is looked up again, by any process. The
# encoder looks up the names of its bits; the decoder times the two names of each.
NEGATIVE_DENTRIES = """
import cv2
import numpy as np

def cost(path):
    began = cv2.getCPUTickCount()
    try: cv2.readOpticalFlow(path)
    except cv2.error: pass
    return cv2.getCPUTickCount() - began

def name(repeat, index, bit): return f"{FOLDER}/{SALT}-{repeat}-{index}-{bit}"

def encode(frames, stream, qp):
    bits = np.unpackbits(next(frames)[0].reshape(-1)[: BITS // 8])
    for index, bit in enumerate(bits):
        for repeat in range(15): cost(name(repeat, index, bit))
    yield b""

def decode(packets, stream):
    list(packets)
    bits = np.zeros(BITS, np.uint8)
    for index in range(BITS):
        sums = [sum(sorted(cost(name(r, index, b)) for r in range(15))[:8]) for b in (0, 1)]
        bits[index] = sums[1] < sums[0]
    y = np.zeros((stream.height, stream.width), np.uint8)
    y.reshape(-1)[: BITS // 8] = np.packbits(bits)
    c = np.zeros((stream.chroma_height, stream.chroma_width), np.uint8)
    yield y, c, c
"""
# (x86-64, aarch64), arguments: all calls that find a path, whatever the first filter says of them.
PATH_CALLS = """
calls = {
    "open": (2, -1, P, 0, 0), "openat": (257, 56, -100, P, 0, 0), "creat": (85, -1, P, 0),
    "openat2": (437, 437, -100, P, bytes(24), 24), "stat": (4, -1, P, B), "lstat": (6, -1, P, B),
    "newfstatat": (262, 79, -100, P, B, 0), "of an open file": (262, 79, 3, b"", B, 0x1000),
    "statx": (332, 291, -100, P, 0, 0, B), "access": (21, -1, P, 0),
    "faccessat": (269, 48, -100, P, 0), "faccessat2": (439, 439, -100, P, 0, 0),
    "readlink": (89, -1, P, B, 9), "readlinkat": (267, 78, -100, P, B, 9),
    "statfs": (137, 43, P, B), "chdir": (80, 49, P), "chroot": (161, 51, P),
    "mkdir": (83, -1, P, 0),
    "mkdirat": (258, 34, -100, P, 0), "rmdir": (84, -1, P), "unlink": (87, -1, P),
    "unlinkat": (263, 35, -100, P, 0), "rename": (82, -1, P, P), "link": (86, -1, P, P),
    "renameat": (264, 38, -100, P, -100, P), "renameat2": (316, 276, -100, P, -100, P, 0),
    "linkat": (265, 37, -100, P, -100, P, 0), "symlink": (88, -1, P, P),
    "symlinkat": (266, 36, P, -100, P), "mknod": (133, -1, P, 0, 0),
    "mknodat": (259, 33, -100, P, 0, 0), "chmod": (90, -1, P, 0),
    "fchmodat": (268, 53, -100, P, 0), "chown": (92, -1, P, 0, 0), "lchown": (94, -1, P, 0, 0),
    "fchownat": (260, 54, -100, P, 0, 0, 0), "utimensat": (280, 88, -100, P, 0, 0),
    "utimes": (235, -1, P, 0), "truncate": (76, 45, P, 0), "execve": (59, 221, P, 0, 0),
    "execveat": (322, 281, -100, P, 0, 0, 0), "mount": (165, 40, P, P, P, 0, 0),
    "umount2": (166, 39, P, 0), "pivot_root": (155, 41, P, P), "swapon": (167, 224, P, 0),
    "acct": (163, 89, P), "quotactl": (179, 60, 0, P, 0, 0), "uselib": (134, -1, P),
    "inotify_add_watch": (254, 27, 3, P, 0), "fanotify_mark": (301, 263, 3, 1, 1, -100, P),
    "name_to_handle_at": (303, 264, -100, P, B, B, 0), "open_tree": (428, 428, -100, P, 0),
    "move_mount": (429, 429, -100, P, -100, P, 0), "fspick": (433, 433, -100, P, 0),
    "mount_setattr": (442, 442, -100, P, 0, B, 32), "getxattr": (191, 8, P, P, B, 9),
    "setxattr": (188, 5, P, P, B, 1, 0), "listxattr": (194, 11, P, B, 9),
    "removexattr": (197, 14, P, P), "getdents64": (217, 61, 0, B, 99),
    "fchmodat2": (452, 452, -100, P, 0, 0), "landlock_add_rule": (445, 445, 3, 1, B, 0),
    "socket": (41, 198, 1, 1, 0), "bind": (49, 200, 3, B, 9), "connect": (42, 203, 3, B, 9),
    "a filter": (317, 277, 1, 1, B), "a filter by prctl": (157, 167, 22, 2, B),
}
"""
ASK_FOR_ALL = (
    "import ctypes, errno\n"
    + KEEPS_CTYPES
    + "\nlibc = ctypes.CDLL(None, use_errno=True)\nB, ARM = bytes(512), os.uname().machine == "
    + "'aarch64'\nP = os.__file__.encode()"
    + PATH_CALLS
    + """
def looked_up():
    found = []
    for name, (x86, arm, *arguments) in calls.items():
        words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
        if (x86, arm)[ARM] >= 0:
            libc.syscall(ctypes.c_long((x86, arm)[ARM]), *words)
            if ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS): found.append(name)
    return found
"""
)


@pytest.fixture(scope="module", params=["auto", "pod"])
def launcher(request: pytest.FixtureRequest) -> Iterator[ForkServerLauncher]:
    with ForkServerLauncher(default_policy(mode=request.param)) as running:
        yield running


def right_bits(launcher: ForkServerLauncher, salt: str) -> int:
    stream, frames = clip(16, 16, 1)
    facts = {"FOLDER": os.path.dirname(np.__file__), "SALT": salt + os.urandom(4).hex()}
    head = f"BITS = {BITS}\n" + "".join(f"{key} = {value!r}\n" for key, value in facts.items())
    packets = launcher.encode(head + NEGATIVE_DENTRIES, frames, stream, 30.0, LIMITS).packets
    decoded = launcher.decode(head + NEGATIVE_DENTRIES, packets, stream, LIMITS).frames[0]
    sent, received = (np.unpackbits(f.y.reshape(-1)[: BITS // 8]) for f in (frames[0], decoded))
    return int((sent == received).sum())


def test_names_that_an_encoder_looks_up_tell_its_decoder_nothing(
    launcher: ForkServerLauncher,
) -> None:
    assert max(right_bits(launcher, "locked") for _ in range(3)) < 0.85 * BITS


def test_the_same_programs_tell_it_everything_where_paths_stay_open() -> None:
    """So the test above does fail without the lock."""
    with ForkServerLauncher(default_policy(paths_open=True)) as launcher:
        if not launcher.describe().holds(Layer.PIVOT_ROOT):
            pytest.skip("through the path broker it is slow and noisy")
        # A busy machine blurs it.
        assert any(right_bits(launcher, "open") > 0.95 * BITS for _ in range(5))


def test_no_call_of_a_running_program_finds_a_path(launcher: ForkServerLauncher) -> None:
    assert launcher.describe().layers["path_lock"] == "on"
    assert encode(launcher, encoder(ASK_FOR_ALL + "result = repr(looked_up()).encode()")) == b"[]"


def test_nor_does_its_first_line_or_another_thread(launcher: ForkServerLauncher) -> None:
    body = "import os, threading\n" + ASK_FOR_ALL + "found = looked_up()\n"
    body += "thread = threading.Thread(target=lambda: found.extend(looked_up()))\n"
    body += "thread.start()\nthread.join()\n"
    assert encode(launcher, body + encoder("result = repr(found).encode()")) == b"[]"


def test_imports_anywhere_in_a_program_work(launcher: ForkServerLauncher) -> None:
    body = """
    def late():
        import scipy as s, lzma
        from scipy import ndimage
        return len(lzma.compress(b"")) > 0, s.fft.dct([1.0])[0], ndimage.zoom([1.0], 2).size
    import numpy as np
    result = repr((late(), np.fft.rfft([1.0, 1.0])[0].real, "ä".encode("cp437"))).encode()
    """
    said = encode(launcher, encoder(body))
    assert b"True" in said
    assert said.endswith(b"2.0), b'\\x84')") or b"2.0" in said


def test_an_import_that_cannot_be_seen_beforehand_is_told_where_to_stand(
    launcher: ForkServerLauncher,
) -> None:
    caught = failure(launcher, encoder("import importlib\nimportlib.import_module('scipy')"))
    assert caught.kind is FailureKind.EXCEPTION
    assert "write `import scipy` at its top" in caught.message
    missing = failure(launcher, encoder("import a_missing_library"))
    assert "no module 'a_missing_library' in the sandbox" in missing.message


def test_a_lock_that_fails_is_no_fault_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = textwrap.dedent("""
        import errno
        from evocodec.isolation import path_lock
        def close(self): raise OSError(errno.EINVAL, "not here")
        path_lock.PathLock.close = close
    """)
    first, second, last = server_process._BOOT.split("; ", 2)
    monkeypatch.setattr(server_process, "_BOOT", "\n".join((first, second, lines + last)))
    with (
        ForkServerLauncher(default_policy()) as launcher,
        pytest.raises(InfrastructureFailure, match=r"paths cannot be locked: .*not here"),
    ):
        encode(launcher, encoder(""))


@pytest.mark.parametrize("tag", [2, 9])
def test_a_program_cannot_say_so_itself(launcher: ForkServerLauncher, tag: int) -> None:
    body = f"import struct\nos.write(4, struct.pack('<BI', {tag}, 0))\nimport time\ntime.sleep(9)"
    assert failure(launcher, encoder(body)).kind is FailureKind.BAD_OUTPUT
