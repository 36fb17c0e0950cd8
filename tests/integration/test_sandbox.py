"""The sandbox with real processes: what works, what is limited, and hostile results."""

import sys
import threading
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from evocodec.domain.errors import FailureKind
from evocodec.domain.video import Frame, StreamInfo
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import MEBIBYTE
from tests.support.default_options import default_limits, default_policy
from tests.support.sandbox_jobs import (
    KEEPS_CTYPES,
    LIMITS,
    STORE,
    clip,
    decode_failure,
    encode,
    encoder,
    failure,
    same,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")


@pytest.fixture(scope="module")
def launcher() -> Iterator[ForkServerLauncher]:
    with ForkServerLauncher(default_policy()) as running:
        yield running


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
    assert encode(launcher, program, default_limits(wall_seconds=60, cpu_seconds=60)) == b"45"


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
    caught = failure(launcher, encoder(body), default_limits(wall_seconds=1.0))
    assert caught.kind is FailureKind.TIMEOUT
    assert "1 s of wall time" in caught.message
    assert 'File "candidate.py", line' in caught.detail
    assert "evocodec/guest" not in caught.detail


def test_the_processor_limit_ends_a_busy_loop(launcher: ForkServerLauncher) -> None:
    body = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    caught = failure(launcher, encoder(body), default_limits(wall_seconds=30, cpu_seconds=1))
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
    limits = default_limits(output_bytes=8 * MEBIBYTE)
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
