"""Frame files: decoded frames in a file instead of in memory, read one at a time.

Reading copies one frame. Mapping the file would count every frame read as memory of this process,
and memory limits do count it.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import SupportsIndex, overload

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.video import Frame, StreamInfo
from evocodec.video.clip_cache import FRAMES_SUFFIX, ClipCache, HeldFile, clip_cache
from evocodec.video.y4m import pack_frame, unpack_frame

IN_MEMORY_BYTES = 64 << 20
"""Clips up to this raw size are held in memory."""


class FrameFile(Sequence[Frame]):
    """Frames of one file, by index; slices share the file. Any thread may read.

    ``stream`` has the number of frames of this slice, and ``start`` is its first frame in the file.
    It is pickled as its path: another process on this machine opens the file again, and finds it as
    long as any process holds it.
    """

    def __init__(self, held: HeldFile, stream: StreamInfo, start: int = 0) -> None:
        self._held = held
        self.start = start
        self.stream = stream

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self._held.path

    def __len__(self) -> int:
        return self.stream.frame_count

    @overload
    def __getitem__(self, index: SupportsIndex) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> "FrameFile": ...

    def __getitem__(self, index: SupportsIndex | slice) -> "Frame | FrameFile":
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError("frames of a file are taken one after the other: no step")
            stream = replace(self.stream, frame_count=max(0, stop - start))
            return FrameFile(self._held, stream, self.start + start)
        wanted = range(len(self))[index]
        size = self.stream.frame_bytes
        return unpack_frame(self._held.read((self.start + wanted) * size, size), self.stream)

    def __iter__(self) -> Iterator[Frame]:
        for index in range(len(self)):
            yield self[index]

    def __reduce__(self) -> tuple[object, ...]:
        return open_frames, (str(self.path), self.stream, self.start)


class FrameWriter:
    """Writes frames of one size into a new file of the cache; ends with ``discard`` or ``keep``.

    Frames may be written by index: a job that is repeated delivers them again.
    """

    def __init__(self, stream: StreamInfo, cache: ClipCache | None = None) -> None:
        self._cache = cache or clip_cache()
        self._stream = stream
        self._cache.prepare()
        self._cache.make_room(stream.frame_bytes * stream.frame_count)
        self._held = self._cache.create()
        self._count = 0

    def put(self, index: int, frame: Frame) -> None:
        """Write the frame of this index."""
        size = self._stream.frame_bytes
        data = memoryview(pack_frame(frame))
        place = index * size
        try:
            while data:
                done = os.pwrite(self._held.fd, data, place)
                data, place = data[done:], place + done
        except OSError as error:
            raise InfrastructureFailure(
                f"cannot keep decoded frames in {self._held.path.parent}: {error.strerror}; "
                "free some space there"
            ) from error
        self._count = index + 1

    def append(self, frame: Frame) -> None:
        """Write the next frame."""
        self.put(self._count, frame)

    def frames(self) -> FrameFile:
        """Return the frames written so far."""
        return FrameFile(self._held, replace(self._stream, frame_count=self._count))

    def keep(self, sha256: str) -> FrameFile:
        """Store the file in the cache under its digest."""
        count = self._count
        self._held = self._cache.rename(self._held, sha256 + FRAMES_SUFFIX)
        self._cache.make_room()  # how long a video is, is known only now
        return FrameFile(self._held, replace(self._stream, frame_count=count))

    def discard(self) -> None:
        """Remove the name of the file; its space is freed when its last reader closes it."""
        self._held.path.unlink(missing_ok=True)


def collect(
    frames: Iterable[Frame], stream: StreamInfo
) -> tuple[Sequence[Frame], FrameWriter | None]:
    """Hold a few frames in memory; more of them in a file of the cache.

    Returns the frames, and the writer of the file if there is one, for its ``keep`` or ``discard``.
    """
    held: list[Frame] = []
    most = max(1, IN_MEMORY_BYTES // stream.frame_bytes)
    source = iter(frames)
    for frame in source:
        held.append(frame)
        if len(held) > most:
            break
    else:
        return tuple(held), None
    writer = FrameWriter(stream)
    try:
        for frame in held:
            writer.append(frame)
        held.clear()
        for frame in source:
            writer.append(frame)
    except BaseException:
        writer.discard()
        raise
    return writer.frames(), writer


def find_frames(
    sha256: str, stream: StreamInfo, cache: ClipCache | None = None
) -> FrameFile | None:
    """Return the frames with this digest, if the cache has them all."""
    held = (cache or clip_cache()).find(sha256 + FRAMES_SUFFIX)
    if held is None or held.size() != stream.frame_bytes * stream.frame_count:
        return None
    return FrameFile(held, stream)


def open_frames(path: str, stream: StreamInfo, start: int) -> FrameFile:
    """Open a file that another process holds; raises ``InfrastructureFailure`` if it is gone."""
    place = Path(path)
    held = ClipCache(place.parent, 0).find(place.name)
    if held is None:
        raise InfrastructureFailure(f"the decoded frames in {path} are not on this machine")
    return FrameFile(held, stream, start)
