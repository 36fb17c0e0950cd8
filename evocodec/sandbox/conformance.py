"""Determinism check: the same packets must decode to the same frames on any machine."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.video import Frame, StreamInfo
from evocodec.sandbox.launcher import Launcher
from evocodec.sandbox.page_cache import drop_page_cache
from evocodec.sandbox.policy import DEFAULT_IMPORTS, Limits


class FramesDigest:
    """SHA-256 over shapes and samples of frames, in order; equal exactly for equal frames.

    An instance is an ``on_frame`` callback; index 0 starts again.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.count = 0

    def __call__(self, index: int, frame: Frame) -> None:
        """Add the next frame."""
        if index == 0:
            self._digest, self.count = hashlib.sha256(), 0
        for plane in frame:
            self._digest.update(b"%d,%d;" % plane.shape)
            self._digest.update(np.ascontiguousarray(plane).data)
        self.count += 1

    def hexdigest(self) -> str:
        """Return the digest of the frames so far."""
        return self._digest.hexdigest()


def frames_digest(frames: Iterable[Frame]) -> str:
    """Return the ``FramesDigest`` of a sequence of frames."""
    digest = FramesDigest()
    for index, frame in enumerate(frames):
        digest(index, frame)
    return digest.hexdigest()


def check_determinism(
    launcher: Launcher,
    program: str,
    packets: Iterable[bytes],
    stream: StreamInfo,
    limits: Limits,
    expected: Sequence[Frame] | str,
    *,
    allowed_imports: Iterable[str] = DEFAULT_IMPORTS,
) -> None:
    """Decode again on ``launcher``, which may emulate another CPU, and compare frame by frame.

    ``expected``: the frames of the first decode, or only their ``frames_digest``; with frames, the
    message names the first plane that differs. Before that, the page cache is dropped, so that a
    decoder that depends on what an earlier job left there gives other frames.

    Raises CandidateFailure(NONDETERMINISTIC).
    """
    drop_page_cache(allowed_imports)
    digest = FramesDigest()
    differences: list[str] = []

    def on_frame(index: int, frame: Frame) -> None:
        digest(index, frame)
        if index == 0:
            differences.clear()
        if not isinstance(expected, str) and index < len(expected) and not differences:
            differences.extend(_difference(index, expected[index], frame))

    launcher.decode(program, packets, stream, limits, on_frame=on_frame)
    wanted = expected if isinstance(expected, str) else frames_digest(expected)
    if digest.hexdigest() == wanted:
        return
    detail = "" if isinstance(expected, str) else f": {len(expected)} and {digest.count} frames"
    if differences:
        detail = f": {differences[0]}"
    raise CandidateFailure(
        FailureKind.NONDETERMINISTIC,
        f"decoding the same packets twice gave different frames{detail}; "
        "use integer arithmetic where the decoder must be exact",
    )


def _difference(index: int, first: Frame, second: Frame) -> list[str]:
    for name, left, right in zip("yuv", first, second, strict=True):
        if not np.array_equal(left, right):
            count = int(np.count_nonzero(left != right))
            return [f"frame {index}, plane {name} differs first, in {count} samples"]
    return []
