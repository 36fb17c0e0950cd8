"""YUV4MPEG2 (.y4m): the uncompressed file format that ffmpeg and every player read and write.

Only the formats of this project: 8-bit 4:2:0, progressive. The header syntax follows the mjpegtools
manual page ``yuv4mpeg(5)``.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from evocodec.domain.errors import SourceError
from evocodec.domain.video import Frame, Plane, StreamInfo
from evocodec.regular_files import open_regular

MAX_SIDE = 16384
_MAX_HEADER_BYTES = 1024
_MAGIC = b"YUV4MPEG2"
_MARKER = b"FRAME\n"
_EIGHT_BIT_420 = ("420", "420jpeg", "420mpeg2", "420paldv")


class Y4mReader:
    """Reads one stream from a binary file or pipe, frame by frame.

    ``width``, ``height`` and ``fps`` are known once constructed. Raises ``SourceError`` for
    anything that is not 8-bit 4:2:0 Y4M, and for a stream that ends inside a frame.
    """

    def __init__(self, handle: BinaryIO, name: str) -> None:
        self._handle = handle
        self._name = name
        fields = self._header_line().decode("ascii", "replace").split()
        if not fields or fields[0] != _MAGIC.decode():
            raise SourceError(f"{name}: not a Y4M file (it does not start with YUV4MPEG2)")
        tags = {field[0]: field[1:] for field in fields[1:] if field[0] != "X"}
        try:
            self.width, self.height = int(tags["W"]), int(tags["H"])
            numerator, _, denominator = tags["F"].partition(":")
            self.fps = Fraction(int(numerator), int(denominator or "1"))
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise SourceError(f"{name}: Y4M header lacks a valid size or rate: {error}") from error
        if not (0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE and self.fps > 0):
            raise SourceError(
                f"{name}: {self.width}x{self.height} at {self.fps} frames/s is out of range"
            )
        if tags.get("C", "420") not in _EIGHT_BIT_420:
            raise SourceError(
                f"{name}: Y4M colour space C{tags['C']} is not 8-bit 4:2:0; convert it with "
                "`ffmpeg -i IN -pix_fmt yuv420p OUT.y4m`"
            )

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the stream ends; planes are read-only views."""
        shape = StreamInfo(self.width, self.height, self.fps, 1)
        index = 0
        while (line := self._line()) is not None:
            if not line.startswith(b"FRAME"):
                raise SourceError(f"{self._name}: no FRAME marker before frame {index}")
            raw = self._handle.read(shape.frame_bytes)
            if len(raw) != shape.frame_bytes:
                raise SourceError(
                    f"{self._name}: truncated: it ends inside frame {index} "
                    f"({len(raw)} of {shape.frame_bytes} bytes)"
                )
            yield unpack_frame(raw, shape)
            index += 1

    def _header_line(self) -> bytes:
        line = self._line()
        if line is None:
            raise SourceError(f"{self._name}: empty, there is no Y4M header")
        return line

    def _line(self) -> bytes | None:
        line = self._handle.readline(_MAX_HEADER_BYTES)
        if not line:
            return None
        if not line.endswith(b"\n"):
            raise SourceError(f"{self._name}: not a Y4M file, or truncated inside a header")
        return line[:-1]


def unpack_frame(raw: bytes, stream: StreamInfo) -> Frame:
    """Split one raw planar 4:2:0 picture (``stream.frame_bytes`` bytes) into its planes."""
    luma = stream.width * stream.height
    chroma = stream.chroma_width * stream.chroma_height
    flat = np.frombuffer(raw, dtype=np.uint8)
    chroma_shape = (stream.chroma_height, stream.chroma_width)
    return Frame(
        y=flat[:luma].reshape(stream.height, stream.width),
        u=flat[luma : luma + chroma].reshape(chroma_shape),
        v=flat[luma + chroma :].reshape(chroma_shape),
    )


def pack_frame(frame: Frame) -> bytes:
    """Join the planes of a frame to one raw planar picture."""
    return b"".join(np.ascontiguousarray(plane).tobytes() for plane in frame)


class Y4mWriter:
    """Writes a stream frame by frame; ``stream.frame_count`` is not used.

    Frames have an index, and may be written again.
    """

    def __init__(self, handle: BinaryIO, stream: StreamInfo) -> None:
        self._handle = handle
        self._stream = stream
        self._header = _header(stream)
        handle.write(self._header)
        self._next = 0

    def frame(self, index: int, frame: Frame) -> None:
        """Write one frame; raises ``ValueError`` when it does not have the stream's size."""
        _require_size(frame, self._stream, index)
        if index != self._next:
            stride = len(_MARKER) + self._stream.frame_bytes
            self._handle.seek(len(self._header) + index * stride)
        self._handle.write(_MARKER + pack_frame(frame))
        self._next = index + 1


def y4m_bytes(stream: StreamInfo) -> int:
    """Return the size in bytes of the file that ``Y4mWriter`` makes of a whole stream."""
    return len(_header(stream)) + stream.frame_count * (len(_MARKER) + stream.frame_bytes)


def _header(stream: StreamInfo) -> bytes:
    rate = f"F{stream.fps.numerator}:{stream.fps.denominator}"
    return (
        f"YUV4MPEG2 W{stream.width} H{stream.height} {rate} Ip A1:1 "
        "C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE=LIMITED XEVOCODEC\n".encode()
    )


def write_y4m(path: str | Path, stream: StreamInfo, frames: Iterable[Frame]) -> int:
    """Write frames as they come, and return how many; raises as ``Y4mWriter`` does."""
    count = 0
    with Path(path).open("wb") as handle:
        writer = Y4mWriter(handle, stream)
        for frame in frames:
            writer.frame(count, frame)
            count += 1
    return count


def read_y4m(path: str | Path) -> tuple[StreamInfo, tuple[Frame, ...]]:
    """Read a whole file; raises ``SourceError`` when it is missing, foreign or truncated."""
    try:
        with open_regular(path) as handle:
            reader = Y4mReader(handle, str(path))
            frames = tuple(reader.frames())
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    return StreamInfo(reader.width, reader.height, reader.fps, len(frames)), frames


def _require_size(frame: Frame, stream: StreamInfo, index: int) -> None:
    chroma = (stream.chroma_height, stream.chroma_width)
    wanted = ((stream.height, stream.width), chroma, chroma)
    planes: tuple[Plane, ...] = tuple(frame)
    found = tuple(plane.shape for plane in planes)
    if found != wanted or any(plane.dtype != np.uint8 for plane in planes):
        raise ValueError(f"frame {index}: uint8 planes of shape {wanted} expected, got {found}")
