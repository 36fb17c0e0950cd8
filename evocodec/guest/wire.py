"""Job side of the two pipes: reads and writes frames and packets."""

import os
from collections.abc import Iterator

import numpy as np

from evocodec.domain.video import Frame, Plane, StreamInfo
from evocodec.guest.framing import HEADER, Tag, pack_header
from evocodec.guest.ring import DOORBELL, Ring, split_planes

INPUT_FD = 3
OUTPUT_FD = 4
_EXPECTED_PLANES = ("y", "u", "v")


class BadOutputError(ValueError):
    """The candidate yielded something that is not a packet, or not a frame of the stream."""


def read_message() -> tuple[Tag, bytearray]:
    """Return the next message of the trusted supervisor; only an early end is an error."""
    number, length = HEADER.unpack(_read_exactly(HEADER.size))
    return Tag(number), _read_exactly(length)


def read_packets() -> Iterator[bytes]:
    """Yield the packets of the stream, in order."""
    while (message := read_message())[0] is Tag.PACKET:
        yield bytes(message[1])


def read_frames(stream: StreamInfo, ring: Ring) -> Iterator[Frame]:
    """Yield the frames of the stream in display order, as arrays that the candidate may change."""
    index = 0
    while read_message()[0] is Tag.FRAME:
        yield split_planes(ring.take(index), stream)
        index += 1


def write_message(tag: Tag, *pieces: object) -> None:
    """Send one message made of contiguous buffers."""
    views = [memoryview(piece).cast("B") for piece in pieces]  # type: ignore[arg-type]
    views = [view for view in views if view.nbytes]
    views.insert(0, memoryview(pack_header(tag, sum(view.nbytes for view in views))))
    while views:
        sent = os.writev(OUTPUT_FD, views)
        while views and sent >= views[0].nbytes:
            sent -= views.pop(0).nbytes
        if sent:
            views[0] = views[0][sent:]


def write_packet(packet: object) -> None:
    """Send one packet; raises BadOutputError unless it is bytes-like."""
    if not isinstance(packet, bytes | bytearray | memoryview):
        raise BadOutputError(f"encode must yield bytes, but yielded {type(packet).__name__}")
    write_message(Tag.PACKET, bytes(packet))


def write_frame(frame: object, index: int, stream: StreamInfo, ring: Ring) -> None:
    """Send one frame; raises BadOutputError unless its planes are uint8 of the stream's size."""
    if index >= stream.frame_count:
        raise BadOutputError(f"decode yielded more than the stream's {stream.frame_count} frames")
    if not isinstance(frame, tuple | list) or len(frame) != 3:
        kind = type(frame).__name__
        raise BadOutputError(f"frame {index}: expected a (y, u, v) tuple, got {kind}")
    luma_shape = (stream.height, stream.width)
    chroma_shape = (stream.chroma_height, stream.chroma_width)
    y, u, v = (
        _checked_plane(plane, shape, f"frame {index}, plane {name}")
        for plane, shape, name in zip(
            frame, (luma_shape, chroma_shape, chroma_shape), _EXPECTED_PLANES, strict=True
        )
    )
    ring.put(index, Frame(y, u, v))
    write_message(Tag.FRAME, DOORBELL)


def _checked_plane(plane: object, shape: tuple[int, int], where: str) -> Plane:
    if not isinstance(plane, np.ndarray):
        kind = type(plane).__name__
        raise BadOutputError(f"{where}: expected a numpy uint8 array {shape}, got {kind}")
    if plane.dtype != np.uint8 or plane.shape != shape:
        got = f"{plane.dtype} {plane.shape}"
        raise BadOutputError(f"{where}: expected uint8 {shape}, got {got}")
    return plane


def _read_exactly(count: int) -> bytearray:
    buffer = bytearray(count)
    view = memoryview(buffer)
    while view.nbytes:
        received = os.readv(INPUT_FD, [view])
        if received == 0:
            raise EOFError("the supervisor closed the input")
        view = view[received:]
    return buffer
