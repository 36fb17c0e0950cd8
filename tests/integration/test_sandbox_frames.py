"""Frames through shared memory: none lost, none mixed up, and no way to harm the other side."""

import sys
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.video import Frame, StreamInfo
from evocodec.guest.ring import IN_FLIGHT
from evocodec.sandbox.conformance import frames_digest
from evocodec.sandbox.forkserver import ForkServerLauncher
from tests.support.default_options import default_limits, default_policy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")

MANY = 5 * IN_FLIGHT
LIMITS = default_limits(wall_seconds=20)
STORE = """
import numpy as np
def encode(frames, stream, qp):
    {prepare}
    for frame in {frames}:
        {each}
        yield b"".join(plane.tobytes() for plane in frame)

def decode(packets, stream):
    luma = stream.width * stream.height
    small = (stream.chroma_height, stream.chroma_width)
    for packet in packets:
        flat = np.frombuffer(packet, np.uint8)
        u, v = flat[luma:].reshape(2, *small)
        {last}
        yield flat[:luma].reshape(stream.height, stream.width), u, v
"""


def program(
    prepare: str = "pass", frames: str = "frames", each: str = "pass", last: str = "pass"
) -> str:
    return STORE.format(prepare=prepare, frames=frames, each=each, last=last)


@pytest.fixture(scope="module")
def launcher() -> Iterator[ForkServerLauncher]:
    with ForkServerLauncher(default_policy()) as running:
        yield running


def clip(width: int, height: int, count: int) -> tuple[StreamInfo, list[Frame]]:
    stream = StreamInfo(width, height, Fraction(30), count)
    rng = np.random.default_rng(3)
    luma, chroma = (height, width), (stream.chroma_height, stream.chroma_width)
    return stream, [
        Frame(*(rng.integers(0, 256, shape, np.uint8) for shape in (luma, chroma, chroma)))
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    "source",
    [
        program(),
        program(frames="list(frames)"),
        program(prepare="import time", each="time.sleep(0.01)"),
        program(last="import time; time.sleep(0.01)"),
        # Planes that are not contiguous, and frames that stay the program's own.
        program(last="u = np.asfortranarray(u); v = v[::-1][::-1]"),
        program(each="frame.y[:] = frame.y"),
    ],
)
@pytest.mark.parametrize(("width", "height"), [(33, 17), (352, 288)])
def test_many_more_frames_than_slots_arrive_whole_and_in_order(
    launcher: ForkServerLauncher, source: str, width: int, height: int
) -> None:
    stream, frames = clip(width, height, MANY)
    packets = launcher.encode(source, frames, stream, 30.0, LIMITS).packets
    decoded = launcher.decode(source, packets, stream, LIMITS).frames
    assert frames_digest(decoded) == frames_digest(frames)


def test_frames_that_are_kept_do_not_change_under_the_encoder(
    launcher: ForkServerLauncher,
) -> None:
    stream, frames = clip(64, 64, MANY)
    prepare = "kept = list(frames); first = kept[0].y.copy()"
    each = "assert (kept[0].y == first).all()"
    source = program(prepare=prepare, frames="kept", each=each)
    packets = launcher.encode(source, frames, stream, 30.0, LIMITS).packets
    assert packets[0][: 64 * 64] == frames[0].y.tobytes()


def test_the_input_cannot_be_written_to(launcher: ForkServerLauncher) -> None:
    """Every mapping of the process is tried: the one that frames come through stays read-only."""
    body = """
import ctypes, gc
if 0: import numba  # with which a program keeps ctypes
import numpy as np
def encode(frames, stream, qp):
    next(frames)
    libc = ctypes.CDLL(None, use_errno=True)
    results = []
    for thing in gc.get_objects():
        if type(thing).__name__ == "Ring":
            address = thing._samples.ctypes.data
            results.append(libc.mprotect(ctypes.c_void_p(address & ~4095), 4096, 3))
    yield f"{set(results)} {ctypes.get_errno()}".encode()
def decode(packets, stream): yield
"""
    stream, frames = clip(64, 64, 2)
    packets = launcher.encode(body, frames, stream, 30.0, LIMITS).packets
    assert packets == (b"{-1} 13",)


@pytest.mark.parametrize("count", [0, 1, 4 * MANY])
def test_ringing_for_frames_that_were_not_written_is_the_candidates_failure_or_its_picture(
    launcher: ForkServerLauncher, count: int
) -> None:
    """Doorbells without frames give what is in the memory: the job's own, or nothing."""
    source = (
        "import os\nfrom evocodec.guest.ring import DOORBELL\n"
        "def encode(f, s, q): yield b''\n"
        "def decode(packets, stream):\n"
        "    bell = b'\\x04' + len(DOORBELL).to_bytes(4, 'little') + DOORBELL\n"
        f"    for _ in range({count}): os.write(4, bell)\n"
        "    yield from ()\n"
    )
    stream = StreamInfo(16, 16, Fraction(30), 1)
    if count == 1:
        (frame,) = launcher.decode(source, [b""], stream, LIMITS).frames
        assert not frame.y.any()
        return
    with pytest.raises(CandidateFailure) as caught:
        launcher.decode(source, [b""], stream, LIMITS)
    assert caught.value.kind is FailureKind.BAD_OUTPUT
