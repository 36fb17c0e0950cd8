"""Choice of the kernels: CUDA for large frames where there is a device, else the CPU."""

import importlib.util
import math
from functools import cache
from pathlib import Path

from evocodec.metrics.kernels.cpu import CPU
from evocodec.metrics.kernels.protocol import Kernels

CUDA_MIN_SAMPLES = 1280 * 720
"""Luma samples from which a frame is worth its way to the GPU."""


def choose_kernels(shape: tuple[int, ...]) -> Kernels:
    """Return CUDA kernels for large planes if torch finds a device, else CPU kernels."""
    if math.prod(shape) >= CUDA_MIN_SAMPLES:
        return _cuda_kernels() or CPU
    return CPU


@cache
def _cuda_kernels() -> Kernels | None:
    # Importing torch takes seconds: only where the driver shows that there is something to find.
    if not Path("/dev/nvidiactl").exists() or importlib.util.find_spec("torch") is None:
        return None
    # The import must wait until it is known to be worth its seconds.
    from evocodec.metrics.kernels.torch import cuda_device

    return cuda_device()
