"""Kernels: the array operations that the metrics need of a library, on the CPU or on CUDA.

The formulas are written once, over these operations and the arithmetic operators of the arrays.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
"""One plane of integer samples; how many bits of them count is said beside it."""

Array: TypeAlias = Any
"""An array of whatever library does the work: of floats, unless said otherwise."""

GAUSSIAN_TAPS = 11
GAUSSIAN_SIGMA = 1.5


class Kernels(Protocol):
    """Operations of one array library. Instances hold no frame and may be shared by threads."""

    rows_at_once: int
    """How many rows the formulas should work on at a time, so that they stay in a cache."""

    def load(self, plane: Samples) -> Array:
        """Copy integer samples to the device, unchanged."""
        ...

    def squared_error(self, first: Array, second: Array) -> int:
        """Return the exact sum of squared differences of two loaded planes."""
        ...

    def sum_and_difference(self, first: Array, second: Array, offset: int) -> tuple[Array, Array]:
        """Return ``first + second - offset`` and ``first - second`` of planes, in float32."""
        ...

    def blur(self, images: Sequence[Array]) -> Sequence[Array]:
        """Return Gaussian means of images of one shape, where the window is wholly inside."""
        ...

    def halve(self, image: Array) -> Array:
        """Return means of 2 × 2 samples; an odd last row or column counts twice."""
        ...

    def total(self, image: Array) -> float:
        """Return the sum of all samples, accumulated in 64 bits."""
        ...


@cache
def gaussian_taps() -> npt.NDArray[np.float32]:
    """Return the taps of the window along one axis; their sum is 1."""
    axis = np.arange(GAUSSIAN_TAPS) - GAUSSIAN_TAPS // 2
    taps = np.exp(-(axis**2) / (2 * GAUSSIAN_SIGMA**2))
    normal: npt.NDArray[np.float32] = (taps / taps.sum()).astype(np.float32)
    return normal
