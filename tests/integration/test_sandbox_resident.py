"""Libraries are in memory before a program runs, so that none can tell which parts were used."""

import sys

import pytest

from evocodec.sandbox.forkserver import ForkServerLauncher
from evocodec.sandbox.page_cache import drop_page_cache
from evocodec.sandbox.policy import DEFAULT_IMPORTS
from tests.support.default_options import default_policy
from tests.support.sandbox_jobs import KEEPS_CTYPES, encode, encoder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")
# Major page faults: those that wait for the disk. OpenCV's code, and that of SciPy's FFT.
TOUCH = """
import ctypes, resource
KEEPS
import cv2
from scipy.fft._pocketfft import pypocketfft
def touch(function, step, count):
    table = ctypes.c_void_p.from_address(id(function) + 16).value
    place = ctypes.c_void_p.from_address(table + 8).value & ~4095
    for index in range(count): ctypes.c_ubyte.from_address(place + index * step).value
before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
touch(cv2.dct, 1 << 20, 16)
touch(cv2.dct, -(1 << 20), 16)
result = str(resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before).encode()
"""


@pytest.mark.parametrize("mode", ["auto", "pod"])
def test_no_page_of_a_library_comes_from_the_disk_while_a_program_runs(mode: str) -> None:
    program = encoder(TOUCH.replace("KEEPS", KEEPS_CTYPES))
    with ForkServerLauncher(default_policy(mode=mode)) as launcher:
        for _ in range(2):
            drop_page_cache(DEFAULT_IMPORTS)
            assert encode(launcher, program) == b"0"
