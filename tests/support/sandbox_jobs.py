"""Programs for sandboxes, and what a launcher makes of them."""

import textwrap
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from evocodec.domain.errors import CandidateFailure
from evocodec.domain.video import Frame, StreamInfo
from evocodec.sandbox.conformance import frames_digest
from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.policy import MEBIBYTE, Limits
from tests.support.default_options import default_limits

LIMITS = default_limits(wall_seconds=20, cpu_seconds=20, memory_bytes=512 * MEBIBYTE)
KEEPS_CTYPES = "if 0: import numba"  # without it, native code cannot be called

STORE = (Path(__file__).parents[1] / "data" / "store_codec.py").read_text()


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


def descendants(launcher: ForkServerLauncher) -> list[psutil.Process]:
    return psutil.Process(launcher.server_pid).children(recursive=True)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition; what never comes fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.01)


def until_a_job_runs(launcher: ForkServerLauncher, idle: int) -> None:
    """Wait until there are more processes than the ``idle`` ones: a job, and the next to wait."""
    until(lambda: len(descendants(launcher)) > idle)


def settle(launcher: ForkServerLauncher, expected: int) -> int:
    """The number of processes below the server, once it is ``expected``; one waits for a job."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and len(descendants(launcher)) != expected:
        time.sleep(0.02)
    return len(descendants(launcher))
