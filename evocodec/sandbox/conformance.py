"""Decoding must be repeatable: the same bytes give the same frames, on any machine."""

import hashlib
from collections.abc import Sequence

import numpy as np

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.video import Frame, StreamInfo
from evocodec.sandbox.launcher import Launcher
from evocodec.sandbox.policy import Limits


def frames_digest(frames: Sequence[Frame]) -> str:
    """SHA-256 over the planes' shapes and samples, in order; equal exactly for equal frames."""
    digest = hashlib.sha256()
    for frame in frames:
        for plane in frame:
            digest.update(b"%d,%d;" % plane.shape)
            digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def check_repeatable(
    launcher: Launcher,
    program: str,
    packets: Sequence[bytes],
    stream: StreamInfo,
    limits: Limits,
    expected: Sequence[Frame] | str,
) -> None:
    """Decode again on ``launcher``, which may emulate another CPU, and compare.

    ``expected``: the frames of the first decode, or only their ``frames_digest``; with frames, the
    message names the first plane that differs. Raises CandidateFailure(NONDETERMINISTIC).
    """
    again = launcher.decode(program, packets, stream, limits).frames
    digest = expected if isinstance(expected, str) else frames_digest(expected)
    if frames_digest(again) == digest:
        return
    where = "" if isinstance(expected, str) else f": {_first_difference(expected, again)}"
    raise CandidateFailure(
        FailureKind.NONDETERMINISTIC,
        f"decoding the same packets twice gave different frames{where}; "
        "use integer arithmetic where the decoder must be exact",
    )


def _first_difference(first: Sequence[Frame], second: Sequence[Frame]) -> str:
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        for name, left, right in zip("yuv", one, other, strict=True):
            if not np.array_equal(left, right):
                count = int(np.count_nonzero(left != right))
                return f"frame {index}, plane {name} differs first, in {count} samples"
    return f"{len(first)} and {len(second)} frames"
