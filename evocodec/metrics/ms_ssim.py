"""Multi-scale structural similarity of luma.

Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment",
Asilomar 2003. With s = a + b and d = a - b, whose local variances are Vs and Vd, the contrast term
(2·cov(a, b) + C2) / (var a + var b + C2) is (Vs - Vd + 2·C2) / (Vs + Vd + 2·C2): four windows a
scale instead of five, and d, whose variance is small where it matters, keeps its digits.
"""

import math

from evocodec.metrics.kernels.cpu import CPU
from evocodec.metrics.kernels.protocol import GAUSSIAN_TAPS, Array, Kernels, Samples

MS_SSIM_MIN_SIDE = 176

# Section 3 of the paper: exponents of the five scales, finest first.
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ms_ssim(
    reference: Samples, decoded: Samples, *, bit_depth: int = 8, kernels: Kernels = CPU
) -> float:
    """MS-SSIM of one plane, 0…1; both sides must be at least 176 samples.

    Five scales, 11-tap Gaussian window with sigma 1.5, 2×2 means between scales. A scale whose
    mean contrast term is negative counts as 0. Raises ``ValueError`` for smaller planes.
    """
    if min(reference.shape) < MS_SSIM_MIN_SIDE:
        raise ValueError(f"MS-SSIM needs {MS_SSIM_MIN_SIDE} samples a side: {reference.shape}")
    return loaded_ms_ssim(
        kernels.load(reference), kernels.load(decoded), bit_depth=bit_depth, kernels=kernels
    )


def loaded_ms_ssim(
    reference_plane: Array, decoded_plane: Array, *, bit_depth: int, kernels: Kernels
) -> float:
    """``ms_ssim`` of planes that ``kernels.load`` has returned, without the check of their size."""
    peak = float(2**bit_depth - 1)
    # Moments around mid-grey lose fewer float32 digits than moments around 0.
    offset = 2**bit_depth
    both, difference = kernels.sum_and_difference(reference_plane, decoded_plane, offset)
    product: float = 1.0
    for weight in _WEIGHTS[:-1]:
        product *= math.pow(max(0.0, _mean_similarity(kernels, both, difference, peak)), weight)
        both, difference = kernels.halve(both), kernels.halve(difference)
    last = _mean_similarity(kernels, both, difference, peak, offset=offset)
    return product * math.pow(max(0.0, last), _WEIGHTS[-1])


def _mean_similarity(
    kernels: Kernels, both: Array, difference: Array, peak: float, *, offset: int | None = None
) -> float:
    """Mean contrast term of one scale; times the luminance term where ``offset`` is given."""
    height, width = (side - GAUSSIAN_TAPS + 1 for side in both.shape)
    total = 0.0
    for top in range(0, height, kernels.rows_at_once):
        rows = slice(top, min(top + kernels.rows_at_once, height) + GAUSSIAN_TAPS - 1)
        total += kernels.total(_similarity(kernels, both[rows], difference[rows], peak, offset))
    return total / float(height * width)


def _similarity(
    kernels: Kernels, both: Array, difference: Array, peak: float, offset: int | None
) -> Array:
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mean_s, mean_d, square_s, square_d = kernels.blur(
        (both, difference, both * both, difference * difference)
    )
    mean_d_squared = mean_d * mean_d
    square_s -= mean_s * mean_s
    square_d -= mean_d_squared
    square_s += 2 * c2
    similarity = (square_s - square_d) / (square_s + square_d)
    if offset is not None:
        mean_s = mean_s + offset
        mean_s *= mean_s
        mean_s += 2 * c1
        similarity *= (mean_s - mean_d_squared) / (mean_s + mean_d_squared)
    return similarity
