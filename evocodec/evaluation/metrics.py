"""Picture quality, as JVET reports it: per-frame PSNR averaged over frames, and MS-SSIM of luma."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.results import Quality
from evocodec.domain.video import Frame, Plane

PSNR_CAP_DB = 100.0
MS_SSIM_MIN_SIDE = 176

# Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment",
# Asilomar 2003, section 3: exponents of the five scales, finest first.
_MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2
_TAPS = 11
_SIGMA = 1.5

_Image = npt.NDArray[np.float32]


def plane_psnr(reference: Plane, decoded: Plane) -> float:
    """PSNR of one uint8 plane in dB, at most ``PSNR_CAP_DB`` (which a lossless plane gets)."""
    squared_error = float(cv2.norm(reference, decoded, cv2.NORM_L2SQR))
    if squared_error == 0:
        return PSNR_CAP_DB
    return min(PSNR_CAP_DB, 10 * math.log10(255**2 * reference.size / squared_error))


def frame_psnr(reference: Frame, decoded: Frame) -> tuple[float, float, float]:
    """PSNR of Y, U and V of one frame in dB."""
    return (
        plane_psnr(reference.y, decoded.y),
        plane_psnr(reference.u, decoded.u),
        plane_psnr(reference.v, decoded.v),
    )


def psnr_series(
    reference: Sequence[Frame], decoded: Sequence[Frame]
) -> tuple[tuple[float, float, float], ...]:
    """PSNR of Y, U and V of every frame in dB.

    Raises ``CandidateFailure`` when count, shapes or dtype differ: numbers of different pictures
    must not be compared.
    """
    check_same_format(reference, decoded)
    return tuple(frame_psnr(ours, theirs) for ours, theirs in zip(reference, decoded, strict=True))


def measure_quality(reference: Sequence[Frame], decoded: Sequence[Frame]) -> Quality:
    """All quality figures of a decoded sequence; raises as ``psnr_series`` does.

    PSNR is the mean over frames of each frame's PSNR (JVET common test conditions), not the PSNR
    of the mean error; 6:1:1 weighs (6·Y + U + V) / 8.
    """
    psnr_y, psnr_u, psnr_v = zip(*psnr_series(reference, decoded), strict=True)
    mean_y, mean_u, mean_v = (math.fsum(each) / len(each) for each in (psnr_y, psnr_u, psnr_v))
    similarity = None
    if min(reference[0].y.shape) >= MS_SSIM_MIN_SIDE:
        values = [
            ms_ssim(ours.y, theirs.y) for ours, theirs in zip(reference, decoded, strict=True)
        ]
        similarity = math.fsum(values) / len(values)
    return Quality(
        psnr_y_db=mean_y,
        psnr_u_db=mean_u,
        psnr_v_db=mean_v,
        psnr_611_db=(6 * mean_y + mean_u + mean_v) / 8,
        ms_ssim=similarity,
        worst_frame_psnr_y_db=min(psnr_y),
    )


def check_same_format(reference: Sequence[Frame], decoded: Sequence[Frame]) -> None:
    """Raise ``CandidateFailure`` (bad output) unless both have the same count, shapes and dtype."""
    if len(reference) != len(decoded) or not reference:
        raise CandidateFailure(
            FailureKind.BAD_OUTPUT,
            f"{len(decoded)} frames were decoded where {len(reference)} went in",
        )
    for index, (ours, theirs) in enumerate(zip(reference, decoded, strict=True)):
        for name, mine, other in zip("yuv", ours, theirs, strict=True):
            if mine.shape != other.shape or other.dtype != np.uint8:
                raise CandidateFailure(
                    FailureKind.BAD_OUTPUT,
                    f"frame {index}, plane {name}: {other.dtype} of shape {other.shape} was "
                    f"decoded where uint8 of shape {mine.shape} went in",
                )


def ms_ssim(reference: Plane, decoded: Plane) -> float:
    """Multi-scale SSIM of one luma plane, 0…1; both sides must be at least 176 samples.

    Five scales, 11-tap Gaussian window with sigma 1.5, 2×2 means between scales (Wang et al.,
    2003). Negative contrast terms count as 0. Raises ``ValueError`` for smaller planes.
    """
    if min(reference.shape) < MS_SSIM_MIN_SIDE:
        raise ValueError(f"MS-SSIM needs {MS_SSIM_MIN_SIDE} samples a side: {reference.shape}")
    # Moments around mid-grey lose fewer float32 digits than moments around 0.
    ours = reference.astype(np.float32) - np.float32(128)
    theirs = decoded.astype(np.float32) - np.float32(128)
    product = 1.0
    for scale, weight in enumerate(_MS_SSIM_WEIGHTS):
        luminance_and_contrast, contrast = _ssim_terms(ours, theirs)
        last = scale == len(_MS_SSIM_WEIGHTS) - 1
        product *= max(0.0, luminance_and_contrast if last else contrast) ** weight
        if not last:
            ours, theirs = _halve(ours), _halve(theirs)
    return product


def _ssim_terms(ours: _Image, theirs: _Image) -> tuple[float, float]:
    mean_a, mean_b = _blur(ours), _blur(theirs)
    variance_a = _blur(ours * ours) - mean_a * mean_a
    variance_b = _blur(theirs * theirs) - mean_b * mean_b
    covariance = _blur(ours * theirs) - mean_a * mean_b
    contrast = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    mean_a, mean_b = mean_a + 128, mean_b + 128
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1)
    return float(np.mean(luminance * contrast, dtype=np.float64)), float(
        np.mean(contrast, dtype=np.float64)
    )


def _blur(image: _Image) -> _Image:
    # Only where the window lies wholly inside the picture.
    edge = _TAPS // 2
    blurred: _Image = cv2.GaussianBlur(image, (_TAPS, _TAPS), _SIGMA)
    return blurred[edge:-edge, edge:-edge]


def _halve(image: _Image) -> _Image:
    height, width = image.shape
    even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    halved: _Image = cv2.resize(
        even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA
    )
    return halved
