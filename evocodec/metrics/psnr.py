"""Peak signal-to-noise ratio, plane by plane, as JVET reports it."""

import math
from collections.abc import Sequence

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.video import Frame
from evocodec.metrics.kernels.cpu import CPU
from evocodec.metrics.kernels.protocol import Samples

PSNR_CAP_DB = 100.0


def plane_psnr(reference: Samples, decoded: Samples, *, bit_depth: int = 8) -> float:
    """PSNR of one plane in dB, at most ``PSNR_CAP_DB`` (which a lossless plane gets)."""
    return psnr_of_error(CPU.squared_error(reference, decoded), reference.size, bit_depth)


def psnr_of_error(squared_error: int, samples: int, bit_depth: int) -> float:
    """PSNR in dB of a plane with this sum of squared differences."""
    if squared_error == 0:
        return PSNR_CAP_DB
    peak = 2**bit_depth - 1
    return min(PSNR_CAP_DB, 10 * math.log10(peak**2 * samples / squared_error))


def frame_psnr(reference: Frame, decoded: Frame) -> tuple[float, float, float]:
    """PSNR of Y, U and V of one frame in dB."""
    return (
        plane_psnr(reference.y, decoded.y),
        plane_psnr(reference.u, decoded.u),
        plane_psnr(reference.v, decoded.v),
    )


def check_same_format(reference: Sequence[Frame], decoded: Sequence[Frame]) -> None:
    """Raise ``CandidateFailure`` (bad output) unless both have the same count, shapes and dtype."""
    if len(reference) != len(decoded) or not reference:
        raise wrong_count(len(reference), len(decoded))
    for index, (before, after) in enumerate(zip(reference, decoded, strict=True)):
        check_same_planes(index, before, after)


def check_same_planes(index: int, reference: Frame, decoded: Frame) -> None:
    """Raise ``CandidateFailure`` unless frame ``index`` has the plane format of the input frame."""
    for name, mine, other in zip("yuv", reference, decoded, strict=True):
        if mine.shape != other.shape or mine.dtype != other.dtype:
            raise CandidateFailure(
                FailureKind.BAD_OUTPUT,
                f"frame {index}, plane {name}: {other.dtype} of shape {other.shape} was "
                f"decoded where {mine.dtype} of shape {mine.shape} went in",
            )


def wrong_count(expected: int, found: int) -> CandidateFailure:
    """Return the failure of a program that returned more or fewer frames than it got."""
    return CandidateFailure(
        FailureKind.BAD_OUTPUT, f"{found} frames were decoded where {expected} went in"
    )
