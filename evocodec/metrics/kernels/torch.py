"""Kernels on torch: for CUDA; tests run the same code on its CPU.

torch is optional; importing this module needs it.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from evocodec.metrics.kernels.protocol import GAUSSIAN_TAPS, Array, Kernels, Samples, gaussian_taps

_logger = logging.getLogger(__name__)


class TorchKernels:
    """``Kernels`` on one torch device.

    The window is a sum of shifted copies, not a convolution: cuDNN may round to 10 bits (TF32),
    which is too coarse for variances, and may choose another algorithm on another day.
    """

    rows_at_once = 1 << 30  # a GPU wants the whole picture

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._taps = [float(tap) for tap in gaussian_taps()]

    def load(self, plane: Samples) -> Array:
        """See Kernels."""
        # torch has no arithmetic on unsigned 16-bit integers, and wants writable memory.
        wide = torch.from_numpy(np.array(plane, np.uint8 if plane.itemsize == 1 else np.int32))
        return wide.to(self._device)

    def squared_error(self, first: Array, second: Array) -> int:
        """See Kernels."""
        difference = first.to(torch.int64) - second.to(torch.int64)
        return int((difference * difference).sum().item())

    def sum_and_difference(self, first: Array, second: Array, offset: int) -> tuple[Array, Array]:
        """See Kernels."""
        first_float, second_float = first.to(torch.float32), second.to(torch.float32)
        return first_float + second_float - offset, first_float - second_float

    def blur(self, images: Sequence[Array]) -> Sequence[Array]:
        """See Kernels."""
        rows = self._slide(torch.stack(list(images)), axis=1)
        return list(self._slide(rows, axis=2).unbind(0))

    def halve(self, image: Array) -> Array:
        """See Kernels."""
        height, width = image.shape
        if height % 2:
            image = torch.cat((image, image[-1:]), dim=0)
        if width % 2:
            image = torch.cat((image, image[:, -1:]), dim=1)
        upper = image[0::2, 0::2] + image[0::2, 1::2]
        return (upper + (image[1::2, 0::2] + image[1::2, 1::2])) * 0.25

    def total(self, image: Array) -> float:
        """See Kernels."""
        return float(image.sum(dtype=torch.float64).item())

    def _slide(self, images: Array, axis: int) -> Array:
        length = images.shape[axis] - GAUSSIAN_TAPS + 1
        summed = images.narrow(axis, 0, length) * self._taps[0]
        for start, tap in enumerate(self._taps[1:], start=1):
            summed.add_(images.narrow(axis, start, length), alpha=tap)
        return summed


def cuda_device() -> Kernels | None:
    """Kernels on the current CUDA device, or None when torch cannot use one."""
    if not torch.cuda.is_available():
        return None
    _logger.info("metrics of large frames run on %s", torch.cuda.get_device_name())
    return TorchKernels("cuda")
