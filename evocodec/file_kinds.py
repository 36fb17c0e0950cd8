"""File kinds: what a file is, by its first bytes.

A command replaces without a question only what it would have written itself; what marks a file as
ours is written into it by the same commands.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 4096
"""How much of a file's beginning its kind is told from."""

MARK: Final = "Evocodec"
"""What pages, pictures and Y4M files of ours say in their own metadata."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_SIGNATURES: Final = (
    (0, b"YUV4MPEG2", "a Y4M video that evocodec did not decode"),
    (0, b"EVC", "an .evc file"),
    (4, b"ftyp", "an MP4 or MOV video"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (0, b"RIFF", "an AVI video or a sound file"),
    (0, b"\x00\x00\x00\x01", "a raw video stream"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, _PNG, "a PNG picture that evocodec did not draw"),
    (0, b"SQLite format 3", "a database"),
    (0, b"\x7fELF", "a program of this machine"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "an archive"),
    (0, b"\x1f\x8b", "an archive"),
)


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a command writes; ``is_ours`` tells such a file by its first ``HEAD_BYTES`` bytes.

    ``binary``: not for a terminal.
    """

    name: str
    suffix: str
    is_ours: Callable[[bytes], bool]
    binary: bool = True


def csv_kind(columns: tuple[str, ...]) -> FileKind:
    """Return the kind of a table of ours; later versions may have added columns at the end."""
    start = ",".join(columns[:4]).encode()
    return FileKind("such a table", ".csv", lambda head: head.startswith(start), binary=False)


def describe(head: bytes) -> str:
    """Say for people what begins so."""
    for place, signature, what in _SIGNATURES:
        if head[place : place + len(signature)] == signature:
            return what
    if head.lstrip()[:14].lower() in (b"<!doctype html", b"<html>"):
        return "an HTML page that evocodec did not write"
    return "a file of another kind"


def is_video(head: bytes) -> bool:
    """Whether a file begins as the usual containers of video do."""
    return describe(head).split()[-1] == "video" or head.startswith(b"YUV4MPEG2")


def png_with_mark(data: bytes) -> bytes:
    """Return a PNG with ``Software: Evocodec`` in it (PNG specification, 11.3.4.3 tEXt)."""
    import struct  # noqa: PLC0415 - for drawings alone
    import zlib  # noqa: PLC0415

    first = len(_PNG) + 25  # signature and IHDR, which has a fixed length
    body = b"tEXtSoftware\0" + MARK.encode()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:first] + chunk + data[first:]


def _is_evc(head: bytes) -> bool:
    return head[:3] == b"EVC" and 0 < ord(head[3:4] or b"\0") < ord(" ")


def _is_y4m(head: bytes) -> bool:
    line = head.partition(b"\n")[0]
    return line.startswith(b"YUV4MPEG2 ") and b" XEVOCODEC" in line


def _is_page(head: bytes) -> bool:
    return head[:15].lower() == b"<!doctype html>" and b"Evocodec report</title>" in head


def _is_png(head: bytes) -> bool:
    return head.startswith(_PNG) and b"Software\0" + MARK.encode() in head


def _is_svg(head: bytes) -> bool:
    return b"<svg" in head and MARK.encode() in head


EVC: Final = FileKind("an .evc file", ".evc", _is_evc)
Y4M: Final = FileKind("a Y4M video that evocodec decoded", ".y4m", _is_y4m)
PAGE: Final = FileKind("a report of evocodec", ".html", _is_page, binary=False)
PNG: Final = FileKind("a picture that evocodec drew", ".png", _is_png)
SVG: Final = FileKind("a picture that evocodec drew", ".svg", _is_svg, binary=False)
PROGRAM: Final = FileKind("a program", ".py", lambda _head: False, binary=False)
"""A program may have been changed by hand: no existing one is replaced without a word."""
