"""Wholeness of a file: whether a container ends where it says that it ends.

ffmpeg reads some truncated files without a complaint, as shorter videos. What a container states of
its own length is compared with the file's here. Elementary streams (H.264, HEVC, VVC, MPEG) and
transport streams state nothing, so nobody can tell.
"""

import os
import struct
from collections.abc import Callable
from typing import BinaryIO

from evocodec.domain.errors import SourceError
from evocodec.video.raw_video import y4m_frame_bytes

_Y4M_HEADER = 1 << 16
_FOOTER = b"\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x04"
_MOST_STEPS = 4_000_000
_BOXES = frozenset(
    (b"ftyp", b"moov", b"mdat", b"moof", b"styp", b"free", b"skip", b"wide", b"sidx", b"mfra")
)
ENDLESS = frozenset(
    (
        *("h264", "hevc", "vvc", "mpegvideo", "m4v", "h261", "h263", "mjpeg", "obu", "dirac"),
        *("mpegts", "mpeg", "flv", "nut", "asf", "rm", "gxf", "wtv"),
    )
)
"""ffmpeg's names of formats that do not say where they end."""


def why_not_whole(file: BinaryIO) -> str:
    """Return what is missing at the end of a file, or nothing; for unknown formats nothing too."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(1024)
    try:
        for matches, check in _CHECKS:
            if matches(head):
                return check(file, size, head)
    except (struct.error, IndexError, ValueError):
        return "its structure breaks off before the end"
    return ""


def require_whole(file: BinaryIO, path: str) -> None:
    """Raise ``SourceError`` for a file that ends too early."""
    why = why_not_whole(file)
    if why:
        raise SourceError(
            f"{path}: truncated: {why}; get a whole copy of the file, or name a part that is "
            f"there, for example `{path}@0-8`"
        )


def y4m_end(file: BinaryIO) -> int | None:
    """Return where the last frame of a Y4M file ends, if only white space follows it, else None."""
    size = file.seek(0, os.SEEK_END)
    end, why = _walk_y4m(file, size)
    return end if end < size and not why else None


def _y4m(file: BinaryIO, size: int, head: bytes) -> str:
    return _walk_y4m(file, size)[1]


def _walk_y4m(file: BinaryIO, size: int) -> tuple[int, str]:
    """Walk from frame to frame; return the last one's end, and what is wrong."""
    file.seek(0)
    header = file.readline(_Y4M_HEADER)
    frame_bytes = y4m_frame_bytes(header)
    if frame_bytes is None:
        return size, ""
    place, number = len(header), 0
    while place < size:
        file.seek(place)
        marker = file.readline(_Y4M_HEADER)
        if not marker.strip() and size - place == len(marker):
            return place, ""
        if not marker.startswith(b"FRAME"):
            return place, f"there is no frame at byte {place}, after {number} frames"
        place += len(marker) + frame_bytes
        if place > size:
            return place, f"it ends inside frame {number}, {place - size} bytes too early"
        number += 1
    return place, ""


def _mp4(file: BinaryIO, size: int, head: bytes) -> str:
    place, last = 0, b""
    for _ in range(_MOST_STEPS):
        if place >= size:
            break
        file.seek(place)
        box = file.read(16)
        length, kind = struct.unpack(">I4s", box[:8])
        if length == 1:
            length = struct.unpack(">Q", box[8:16])[0]
        if length < 8:  # to the end of the file, or junk after the last box: neither does harm
            return ""
        last, place = kind, place + length
    if place > size:
        return f"its last box ({last.decode('ascii', 'replace')}) is {place - size} bytes short"
    return "the samples of its last fragment are missing" if last == b"moof" else ""


def _ogg(file: BinaryIO, size: int, head: bytes) -> str:
    place, ended, begun = 0, set(), set()
    while place < size:
        file.seek(place)
        page = file.read(27)
        if len(page) < 27 or page[:4] != b"OggS":
            return f"there is no whole page at byte {place}"
        table = file.read(page[26])
        serial = page[14:18]
        begun.add(serial)
        if page[5] & 4:
            ended.add(serial)
        place += 27 + page[26] + sum(table)
        if len(table) < page[26] or place > size:
            return "it ends inside a page"
    return "" if begun == ended else "its last page is missing"


def _riff(file: BinaryIO, size: int, head: bytes) -> str:
    place = 0
    while place + 8 <= size:
        file.seek(place)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF":
            return ""
        if length in (0, 0xFFFFFFFF):  # left open by a writer that was stopped
            return "its writer did not finish it"
        place += 8 + length + length % 2
        # The last byte may be padding, which some writers leave out.
        if place - length % 2 > size:
            return f"it is {place - size} bytes short"
    return ""


def _matroska(file: BinaryIO, size: int, head: bytes) -> str:
    place = 0
    for _ in range(_MOST_STEPS):
        file.seek(place)
        element = file.read(16)
        if len(element) < 2:
            return ""
        id_length = 9 - element[0].bit_length()
        first = element[id_length]
        length = 9 - first.bit_length()
        if not first or id_length > 4 or length > 8:
            return ""
        value = int.from_bytes(element[id_length : id_length + length], "big")
        value &= (1 << 7 * length) - 1
        if value == (1 << 7 * length) - 1:
            return ""  # written live: its size is not known
        place += id_length + length + value
        if place > size:
            return f"it is {place - size} bytes short"
        if place == size:
            return ""
    return ""


def _mxf(file: BinaryIO, size: int, head: bytes) -> str:
    place, footer = 0, False
    for _ in range(_MOST_STEPS):
        if place >= size:
            break
        file.seek(place)
        key = file.read(25)
        if len(key) < 17 or key[:4] != b"\x06\x0e\x2b\x34":
            return f"there is no whole element at byte {place}"
        footer = footer or key[4:14] == _FOOTER
        length, used = key[16], 17
        if length & 0x80:
            count = length & 0x7F
            length, used = int.from_bytes(key[17 : 17 + count], "big"), 17 + count
        place += used + length
        if place > size:
            return f"its last element is {place - size} bytes short"
    return "" if footer else "its footer is missing"


def _gif(file: BinaryIO, size: int, head: bytes) -> str:
    file.seek(max(0, size - 1024))
    return "" if file.read().rstrip(b"\0").endswith(b"\x3b") else "its end mark is missing"


def _png(file: BinaryIO, size: int, head: bytes) -> str:
    place = 8
    while place < size:
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        place += 12 + length
        if place > size:
            return f"it ends inside a block, {place - size} bytes too early"
        if kind == b"IEND":
            return ""
    return "its end mark is missing"


def _ivf(file: BinaryIO, size: int, head: bytes) -> str:
    place, stated = struct.unpack("<H", head[6:8])[0], struct.unpack("<I", head[24:28])[0]
    number = 0
    while place < size:
        file.seek(place)
        length = struct.unpack("<I", file.read(12)[:4])[0]
        place += 12 + length
        if place > size:
            return f"it ends inside frame {number}"
        number += 1
    return "" if number >= stated or not number else f"it has {number} of {stated} frames"


def _dv(file: BinaryIO, size: int, head: bytes) -> str:
    frame = 12_000 * (12 if head[3] & 0x80 else 10)
    return f"it ends {size % frame} bytes into a frame" if size % frame else ""


def _ts(file: BinaryIO, size: int, head: bytes) -> str:
    return f"it ends {size % 188} bytes into a packet" if size % 188 else ""


def _is_ts(head: bytes) -> bool:
    return head[0:564:188] == b"GGG"  # a sync byte begins every packet


def _is_dv(head: bytes) -> bool:
    return head[:3] == b"\x1f\x07\x00"


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(starts)


_CHECKS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int, bytes], str]], ...] = (
    (_begins(b"YUV4MPEG2"), _y4m),
    (lambda head: head[4:8] in _BOXES, _mp4),
    (_begins(b"OggS"), _ogg),
    (_begins(b"RIFF"), _riff),
    (_begins(b"\x1a\x45\xdf\xa3"), _matroska),
    (_begins(b"\x06\x0e\x2b\x34"), _mxf),
    (_begins(b"GIF8"), _gif),
    (_begins(b"\x89PNG\r\n"), _png),
    (_begins(b"DKIF"), _ivf),
    (_is_dv, _dv),
    (_is_ts, _ts),
)
