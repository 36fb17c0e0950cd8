"""Peak signal-to-noise ratio, plane by plane, as JVET reports it."""

import math
from collections.abc import Sequence

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.video import Frame
from evocodec.metrics.kernels.cpu import CPU
from evocodec.metrics.kernels.protocol import Samples

PSNR_CAP_DB = 100.0

FRAME_LEAD_DB = 10.0
"""How far above the whole sequence one frame counts in a mean; see ``mean_psnr``."""


def plane_psnr(reference: Samples, decoded: Samples, *, bit_depth: int = 8) -> float:
    """PSNR of one plane in dB, at most ``PSNR_CAP_DB`` (which a lossless plane gets)."""
    return psnr_of_error(CPU.squared_error(reference, decoded), reference.size, bit_depth)


def psnr_of_error(squared_error: int, samples: int, bit_depth: int) -> float:
    """PSNR in dB of a plane with this sum of squared differences."""
    if squared_error == 0:
        return PSNR_CAP_DB
    peak = 2**bit_depth - 1
    return min(PSNR_CAP_DB, 10 * math.log10(peak**2 * samples / squared_error))


def mean_psnr(frames_db: Sequence[float]) -> tuple[float, int]:
    """Mean over frames of PSNR in dB, and how many frames were limited in it.

    The mean of each frame's PSNR, as the JVET common test conditions report it. A lossless frame
    has no PSNR, and the 100 dB that stand for it would make the mean: so each frame counts at most
    ``FRAME_LEAD_DB`` above the PSNR of the mean squared error over the sequence. Where no frame
    lies so far above, this is the plain mean. It rises with every frame's quality, without steps.
    Raises ``ValueError`` for no frames.
    """
    if not frames_db:
        raise ValueError("a mean needs frames")
    errors = [0.0 if value >= PSNR_CAP_DB else 10 ** (-value / 10) for value in frames_db]
    error = math.fsum(errors) / len(errors)
    if error == 0:
        return PSNR_CAP_DB, 0
    most = -10 * math.log10(error) + FRAME_LEAD_DB
    limited = sum(value > most for value in frames_db)
    return math.fsum(min(value, most) for value in frames_db) / len(frames_db), limited


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
