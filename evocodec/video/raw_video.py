"""Raw video: YUV of a stated format, and Y4M; every frame has the same size in bytes.

The position of a frame follows from its number, so a part of the file can be read, or fetched,
without the bytes before it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from evocodec.domain.errors import SourceError

RAW_GRAMMAR = "PATH,raw=WxH,FPS[,FORMAT[,tv|pc]], for example film.yuv@0-32,raw=1920x1080,30"
MARKER = b"FRAME\n"
Y4M_HEADER_BYTES = 1024
_MAX_SIDE = 16384
_MAX_FPS = 1000
_SUGGESTIONS = 4

# Chroma divisors in x and y (0: no chroma), and bytes a sample.
_LAYOUTS = {
    "yuv420p": (2, 2, 1),
    "nv12": (2, 2, 1),
    "yuv422p": (2, 1, 1),
    "yuv444p": (1, 1, 1),
    "gray": (0, 0, 1),
    "yuv420p10le": (2, 2, 2),
    "yuv422p10le": (2, 1, 2),
    "yuv444p10le": (1, 1, 2),
}
_Y4M_SPACES = {
    "420": "yuv420p",
    "420jpeg": "yuv420p",
    "420mpeg2": "yuv420p",
    "420paldv": "yuv420p",
    "422": "yuv422p",
    "444": "yuv444p",
    "mono": "gray",
    "420p10": "yuv420p10le",
    "422p10": "yuv422p10le",
    "444p10": "yuv444p10le",
}
_Y4M_CHROMA = {
    "420": (2, 2),
    "422": (2, 1),
    "444": (1, 1),
    "411": (4, 1),
    "mono": (0, 0),
}
_Y4M_SPACE = re.compile(r"(420|422|444|411|mono)(jpeg|mpeg2|paldv|alpha)?p?(\d+)?")
_COMMON_SIZES = (
    *((176, 144), (352, 288), (320, 180), (416, 240), (480, 270), (640, 360), (704, 576)),
    *((720, 480), (720, 576), (832, 480), (1024, 768), (1280, 720), (1920, 1080), (2560, 1440)),
    *((2560, 1600), (3840, 2160), (4096, 2160), (7680, 4320)),
)


@dataclass(frozen=True, slots=True)
class RawFormat:
    """Sample format of a file without a header; ``str`` gives what ``parse_raw`` reads."""

    width: int
    height: int
    fps: Fraction
    pixel_format: str = "yuv420p"
    colour_range: str = "tv"

    @property
    def frame_bytes(self) -> int:
        """Size of one frame in the file, in bytes."""
        return _frame_bytes(self.width, self.height, self.pixel_format)

    def __str__(self) -> str:
        fields = (f"{self.width}x{self.height}", str(self.fps), self.pixel_format)
        return ",".join((*fields, self.colour_range) if self.colour_range != "tv" else fields)


@dataclass(frozen=True, slots=True)
class FixedLayout:
    """Positions of frames: ``header_bytes`` before the first, then one every ``stride`` bytes."""

    format: RawFormat
    header_bytes: int
    stride: int

    def range_of(self, start_frame: int, frames: int | None, size: int) -> tuple[int, int]:
        """Return first byte and end of these frames, as far as the file reaches."""
        begin = self.header_bytes + start_frame * self.stride
        end = size if frames is None else begin + frames * self.stride
        return min(begin, size), min(end, size)


def parse_raw(text: str, whole: str) -> RawFormat:
    """Parse ``WxH,FPS[,FORMAT[,tv|pc]]``; ``whole`` is the text that messages quote."""
    match = re.fullmatch(r"(\d+)[xX](\d+),([\d./]+)(?:,(\w+))?(?:,(tv|pc))?", text.strip())
    if match is None:
        raise SourceError(f"{whole}: what follows 'raw=' is not complete; write {RAW_GRAMMAR}")
    width, height, pixel_format = int(match[1]), int(match[2]), match[4] or "yuv420p"
    if pixel_format not in _LAYOUTS:
        known = ", ".join(_LAYOUTS)
        raise SourceError(
            f"{whole}: the format {pixel_format!r} is not known; choose one of {known}"
        )
    fps = parse_rate(match[3], whole)
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise SourceError(f"{whole}: {width}x{height} is no picture size; write {RAW_GRAMMAR}")
    return RawFormat(width, height, fps, pixel_format, match[5] or "tv")


def parse_rate(text: str, whole: str) -> Fraction:
    """Parse frames/s; raises ``SourceError`` for what is none, or beyond 1000."""
    try:
        fps = Fraction(text)
    except (ValueError, ZeroDivisionError):
        fps = Fraction(0)
    if not 0 < fps <= _MAX_FPS:
        raise SourceError(f"{whole}: {text!r} is no frame rate; write 30, 29.97 or 30000/1001")
    return fps


def raw_layout(path: str, stated: RawFormat, size: int) -> FixedLayout:
    """Check that a raw file of ``size`` bytes holds whole frames; raises ``SourceError``."""
    whole, over = divmod(size, stated.frame_bytes)
    if over or not whole:
        fitting = "; ".join(_fitting(size)) or "no common size"
        raise SourceError(
            f"{path}: {size} bytes are not whole frames of {stated.width}x{stated.height} "
            f"{stated.pixel_format} ({stated.frame_bytes} bytes each): {whole} frames and {over} "
            f"bytes over. It would divide into {fitting}; write {RAW_GRAMMAR}"
        )
    return FixedLayout(stated, 0, stated.frame_bytes)


def y4m_layout(head: bytes, size: int) -> FixedLayout | None:
    """Return the layout of a Y4M file from its first bytes; None when it cannot be known.

    Frame headers may have parameters, and the colour space may be unknown: such a file must be read
    from its beginning.
    """
    line, newline, _ = head[:Y4M_HEADER_BYTES].partition(b"\n")
    fields = line.decode("ascii", "replace").split(" ")
    if not newline or fields[0] != "YUV4MPEG2":
        return None
    tags = {field[0]: field[1:] for field in fields[1:] if field and field[0] != "X"}
    try:
        width, height = int(tags["W"]), int(tags["H"])
        fps = Fraction(tags["F"].replace(":", "/"))
        pixel_format = _Y4M_SPACES[tags.get("C", "420")]
    except (KeyError, ValueError, ZeroDivisionError):
        return None
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE and fps > 0):
        return None
    colour_range = "pc" if "XCOLORRANGE=FULL" in fields else "tv"
    layout = RawFormat(width, height, fps, pixel_format, colour_range)
    stride = len(MARKER) + layout.frame_bytes
    if (size - len(line) - 1) % stride:
        return None
    return FixedLayout(layout, len(line) + 1, stride)


def check_y4m_rate(head: bytes, path: str) -> str:
    """Check the rate of a Y4M file; returns what was assumed where it states none, or nothing.

    A rate of 0:0 means that it is not known. Raises ``SourceError`` for one that is none.
    """
    line, _, _ = head.partition(b"\n")
    fields = line.decode("ascii", "replace").split()
    if not fields or fields[0] != "YUV4MPEG2":
        return ""
    stated = next((field[1:] for field in fields[1:] if field[0] == "F"), "0:0")
    if stated in ("0:0", "0"):
        return (
            "its header states no frame rate; 25 frames/s are assumed, on which bits a second and "
            "an encoder's rate control depend"
        )
    match = re.fullmatch(r"(\d+)(?::(\d+))?", stated)
    fps = Fraction(int(match[1]), int(match[2] or 1)) if match and match[2] != "0" else Fraction(0)
    if not 0 < fps <= _MAX_FPS:
        raise SourceError(
            f"{path}: its header says F{stated}, which is no frame rate up to {_MAX_FPS}; correct "
            "the first line of the file, or make it again, for example with `ffmpeg -r 30 -i IN "
            "OUT.y4m`"
        )
    return ""


def y4m_frame_bytes(line: bytes) -> int | None:
    """Return the size of one frame's samples from a Y4M header line; None when it is no header.

    Knows every colour space that ffmpeg reads, of any bit depth.
    """
    fields = line.decode("ascii", "replace").split()
    tags = {field[0]: field[1:] for field in fields[1:] if field[0] != "X"}
    space = _Y4M_SPACE.fullmatch(tags.get("C", "420"))
    try:
        width, height = int(tags["W"]), int(tags["H"])
    except (KeyError, ValueError):
        return None
    if space is None or not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        return None
    across, down = _Y4M_CHROMA[space[1]]
    chroma = 2 * -(-width // across) * -(-height // down) if across else 0
    if space[2] == "alpha":
        chroma += width * height
    depth = int(space[3] or 8)
    return (width * height + chroma) * (1 if depth <= 8 else 2)


def _frame_bytes(width: int, height: int, pixel_format: str) -> int:
    across, down, sample_bytes = _LAYOUTS[pixel_format]
    chroma = 2 * -(-width // across) * -(-height // down) if across else 0
    return (width * height + chroma) * sample_bytes


def _fitting(size: int) -> Iterator[str]:
    found = 0
    for pixel_format in ("yuv420p", "yuv420p10le", "yuv422p", "yuv444p"):
        for width, height in reversed(_COMMON_SIZES):
            count, over = divmod(size, _frame_bytes(width, height, pixel_format))
            if count and not over and found < _SUGGESTIONS:
                found += 1
                yield f"{count} frames of {width}x{height} {pixel_format}"
