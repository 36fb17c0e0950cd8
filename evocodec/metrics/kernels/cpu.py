"""Kernels on the CPU: OpenCV's filters."""

from collections.abc import Sequence

import numpy as np

from evocodec.metrics.kernels.protocol import GAUSSIAN_TAPS, Array, Kernels, Samples, gaussian_taps


class CpuKernels:
    """OpenCV filters, one plane at a time, with the number of threads that OpenCV is set to."""

    rows_at_once = 64

    def load(self, plane: Samples) -> Array:
        """See Kernels."""
        return plane

    def squared_error(self, first: Array, second: Array) -> int:
        """See Kernels."""
        import cv2

        # OpenCV squares a square root in 64 bits: off by less than a half for any real picture.
        return round(cv2.norm(first, second, cv2.NORM_L2SQR))

    def sum_and_difference(self, first: Array, second: Array, offset: int) -> tuple[Array, Array]:
        """See Kernels."""
        wide = np.int16 if first.itemsize == 1 else np.int32
        total = first.astype(wide)
        total += second
        total -= wide(offset)
        difference = np.subtract(first, second, dtype=wide)
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
