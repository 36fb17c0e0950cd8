"""Kernels: the array operations that the metrics need, on the CPU (here) or on CUDA.

The formulas are written once, over these operations and the arithmetic operators of the arrays.
"""

import importlib.util
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
"""One plane of integer samples; how many bits of them count is said beside it."""

Array: TypeAlias = Any
"""An array of whatever library does the work: of floats, unless said otherwise."""

GAUSSIAN_TAPS = 11
GAUSSIAN_SIGMA = 1.5
CUDA_MIN_SAMPLES = 1280 * 720
"""Luma samples from which a frame is worth its way to the GPU."""


class Kernels(Protocol):
    """One array library. Instances hold no state of a frame and may be shared by threads."""

    rows_at_once: int
    """How many rows the formulas should work on at a time, so that they stay in a cache."""

    def load(self, plane: Samples) -> Array:
        """Bring integer samples to where they are worked on, unchanged."""
        ...

    def squared_error(self, ours: Array, theirs: Array) -> int:
        """Sum of squared differences of two loaded planes, exact."""
        ...

    def sum_and_difference(self, ours: Array, theirs: Array, offset: int) -> tuple[Array, Array]:
        """``ours + theirs - offset`` and ``ours - theirs`` of loaded planes, as 32-bit floats."""
        ...

    def blur(self, images: Sequence[Array]) -> Sequence[Array]:
        """Gaussian means of images of one shape where the window lies wholly inside."""
        ...

    def halve(self, image: Array) -> Array:
        """Means of 2 × 2 samples; an odd last row or column counts twice."""
        ...

    def total(self, image: Array) -> float:
        """Sum of all samples, accumulated in 64 bits."""
        ...


class CpuKernels:
    """OpenCV's filters on one plane at a time; threads are whatever OpenCV was told."""

    rows_at_once = 64

    def load(self, plane: Samples) -> Array:
        """See Kernels."""
        return plane

    def squared_error(self, ours: Array, theirs: Array) -> int:
        """See Kernels."""
        import cv2

        # OpenCV squares a square root in 64 bits: off by less than a half for any real picture.
        return round(cv2.norm(ours, theirs, cv2.NORM_L2SQR))

    def sum_and_difference(self, ours: Array, theirs: Array, offset: int) -> tuple[Array, Array]:
        """See Kernels."""
        wide = np.int16 if ours.itemsize == 1 else np.int32
        total = ours.astype(wide)
        total += theirs
        total -= wide(offset)
        difference = np.subtract(ours, theirs, dtype=wide)
        return total.astype(np.float32), difference.astype(np.float32)

    def blur(self, images: Sequence[Array]) -> Sequence[Array]:
        """See Kernels."""
        import cv2

        edge = GAUSSIAN_TAPS // 2
        taps = gaussian_taps()
        return [
            np.ascontiguousarray(
                cv2.sepFilter2D(image, cv2.CV_32F, taps, taps)[edge:-edge, edge:-edge]
            )
            for image in images
        ]

    def halve(self, image: Array) -> Array:
        """See Kernels."""
        import cv2

        height, width = image.shape
        if height % 2 or width % 2:
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        size = ((width + 1) // 2, (height + 1) // 2)
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    def total(self, image: Array) -> float:
        """See Kernels."""
        import cv2

        return float(cv2.sumElems(image)[0])


CPU: Kernels = CpuKernels()


@cache
def gaussian_taps() -> npt.NDArray[np.float32]:
    """Return the taps of the window along one axis; their sum is 1."""
    axis = np.arange(GAUSSIAN_TAPS) - GAUSSIAN_TAPS // 2
    taps = np.exp(-(axis**2) / (2 * GAUSSIAN_SIGMA**2))
    normal: npt.NDArray[np.float32] = (taps / taps.sum()).astype(np.float32)
    return normal


def choose_kernels(shape: tuple[int, ...]) -> Kernels:
    """CUDA for large planes where torch and a device are there, else the CPU."""
    if math.prod(shape) >= CUDA_MIN_SAMPLES:
        return _cuda_kernels() or CPU
    return CPU


@cache
def _cuda_kernels() -> Kernels | None:
    # Importing torch takes seconds: only where the driver shows that there is something to find.
    if not Path("/dev/nvidiactl").exists() or importlib.util.find_spec("torch") is None:
        return None
    # The import must wait until it is known to be worth its seconds.
    from evocodec.metrics.torch_kernels import cuda_device

    return cuda_device()
