"""Frame transfer of large clips: by path on one machine, in pieces between machines.

Small clips travel through the object store as they are. A large one would fill it, and would be
read back whole; workers of the same machine open its file instead. On another machine, which does
not have the file, the first task that needs it writes it into that machine's cache, a piece at a
time, and the others find it there.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import ray

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.video import Frame, StreamInfo
from evocodec.video.clip_cache import ClipCache
from evocodec.video.clips import Clip
from evocodec.video.data_options import data_options
from evocodec.video.frame_store import FrameFile, FrameWriter, find_frames, open_frames
from evocodec.video.y4m import pack_frame, unpack_frame

PIECE_BYTES = 32 << 20

ObjectRef: TypeAlias = Any


class SentFrames:
    """Pickled form of a ``FrameFile``; unpickling it gives a ``FrameFile``."""

    def __init__(
        self, frames: FrameFile, sha256: str, pieces: tuple[ObjectRef, ...], cache_bytes: int
    ) -> None:
        self._frames = frames
        self._sha256 = sha256
        self._pieces = pieces
        self._cache_bytes = cache_bytes

    def __reduce__(self) -> tuple[object, ...]:
        place = (str(self._frames.path), self._frames.stream, self._frames.start)
        return receive_frames, (*place, self._sha256, self._pieces, self._cache_bytes)


def sendable(clip: Clip, *, elsewhere: bool, cache_bytes: int) -> "Sequence[Frame] | SentFrames":
    """Return what to put into the object store for a clip; ``elsewhere``: also for other machines.

    ``cache_bytes`` bounds what such a machine keeps of videos.
    Its pieces live as long as what is returned does, in the store.
    """
    frames = clip.frames
    if not isinstance(frames, FrameFile):
        return frames
    pieces: tuple[ObjectRef, ...] = ()
    if elsewhere:
        step = max(1, PIECE_BYTES // clip.stream.frame_bytes)
        pieces = tuple(
            ray.put([pack_frame(frame) for frame in frames[first : first + step]])
            for first in range(0, len(frames), step)
        )
    return SentFrames(frames, clip.sha256, pieces, cache_bytes)


def receive_frames(
    path: str,
    stream: StreamInfo,
    start: int,
    sha256: str,
    pieces: tuple[ObjectRef, ...],
    cache_bytes: int,
) -> FrameFile:
    """Open the file where it is, or write it from the pieces where it is not.

    Raises ``InfrastructureFailure`` when there is neither.
    """
    try:
        return open_frames(path, stream, start)
    except InfrastructureFailure:
        if not pieces:
            raise
    cache = ClipCache(data_options().cache_folder, cache_bytes)
    with cache.exclusively(f"{sha256}.lock"):
        found = find_frames(sha256, stream, cache)
        if found is not None:
            return found
        writer = FrameWriter(stream, cache)
        try:
            for piece in pieces:
                for packed in ray.get(piece):
                    writer.append(unpack_frame(packed, stream))
            return writer.keep(sha256)
        except BaseException:
            writer.discard()
            raise
