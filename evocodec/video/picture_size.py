"""Sizes of pictures, read from their headers alone."""

import re
import struct
from collections.abc import Callable
from typing import BinaryIO

_HEAD_BYTES = 4096
_MOST_MARKERS = 10_000


def picture_size(file: BinaryIO) -> tuple[int, int]:
    """Return width and height of a PNG, JPEG, BMP, WebP, PNM or TIFF.

    Raises ``ValueError`` for anything else, and for a header that breaks off.
    """
    head = file.read(_HEAD_BYTES)
    try:
        for start, read in _READERS:
            if head.startswith(start):
                width, height = read(file, head)
                if width > 0 and height > 0:
                    return width, height
    except (struct.error, IndexError) as error:
        raise ValueError("its header breaks off") from error
    raise ValueError("it has no header of a picture")


def _png(_file: BinaryIO, head: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def _bmp(_file: BinaryIO, head: bytes) -> tuple[int, int]:
    width, height = struct.unpack("<ii", head[18:26])
    return width, abs(height)


def _webp(_file: BinaryIO, head: bytes) -> tuple[int, int]:
    kind, data = head[12:16], head[20:]
    if kind == b"VP8X":
        across, down = data[4:7], data[7:10]
        return 1 + int.from_bytes(across, "little"), 1 + int.from_bytes(down, "little")
    if kind == b"VP8L":
        bits = struct.unpack("<I", data[1:5])[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", data[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _pnm(_file: BinaryIO, head: bytes) -> tuple[int, int]:
    plain = re.sub(rb"#[^\n]*\n", b" ", head)
    match = re.match(rb"P[1-6]\s+(\d+)\s+(\d+)\s", plain)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _jpeg(file: BinaryIO, _head: bytes) -> tuple[int, int]:
    """Walk from marker to marker to the frame header."""
    place = 2
    for _ in range(_MOST_MARKERS):
        file.seek(place)
        marker = file.read(9)
        if marker[0] != 0xFF:
            break
        if 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", marker[5:9])
            return width, height
        place += 1 if marker[1] == 0xFF else 2 + struct.unpack(">H", marker[2:4])[0]
    return 0, 0


def _tiff(file: BinaryIO, head: bytes) -> tuple[int, int]:
    order = "<" if head.startswith(b"II") else ">"
    file.seek(struct.unpack(f"{order}I", head[4:8])[0])
    sides = {}
    for _ in range(struct.unpack(f"{order}H", file.read(2))[0]):
        entry = file.read(12)
        tag, kind = struct.unpack(f"{order}HH", entry[:4])
        if tag in (256, 257):
            short = kind == 3
            value = struct.unpack(order + ("H" if short else "I"), entry[8 : 10 if short else 12])
            sides[tag] = int(value[0])
    return sides.get(256, 0), sides.get(257, 0)


_READERS: tuple[tuple[bytes, Callable[[BinaryIO, bytes], tuple[int, int]]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8\xff", _jpeg),
    (b"BM", _bmp),
    (b"RIFF", _webp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"P", _pnm),
)
