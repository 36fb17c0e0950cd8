"""ffmpeg's input: one file that we have opened, and no way to a second one.

A video may come from an attacker, and some formats are lists of other files, addresses or scripts.
ffmpeg gets an open file descriptor instead of a name, may use no other protocol, and may take the
file only for one of the formats below, each of which holds its samples itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evocodec.domain.errors import SourceError
from evocodec.regular_files import open_regular

FORMATS: Final = ",".join(
    (
        *("mov", "matroska", "avi", "mpegts", "mpeg", "ogg", "flv", "asf", "mxf", "gxf", "nut"),
        *("ivf", "obu", "av1", "h264", "hevc", "vvc", "evc", "m4v", "mpegvideo", "h261", "h263"),
        *("vc1", "vc1test", "dirac", "cavsvideo", "avs2", "avs3", "dnxhd", "dv", "mjpeg", "rm"),
        *("wtv", "gif", "apng", "yuv4mpegpipe", "webp_anim", "jpegxl_anim"),
        *("jpeg_pipe", "png_pipe", "bmp_pipe", "tiff_pipe", "webp_pipe", "pgm_pipe", "ppm_pipe"),
        *("wav", "mp3", "flac", "aac"),  # so that a sound file is told as what it is
        *("j2k_pipe", "jpegxl_pipe", "dpx_pipe", "exr_pipe", "qoi_pipe", "gif_pipe"),
    )
)
"""Demuxers of files that hold everything themselves; no lists, scripts, descriptions, devices."""


@dataclass(frozen=True, slots=True)
class OpenInput:
    """ffmpeg's options for an input, and the descriptors that the process has to inherit."""

    options: tuple[str, ...]
    descriptors: tuple[int, ...]


@contextmanager
def open_input(file: Path) -> Iterator[OpenInput]:
    """Open a video for one ffmpeg process; raises ``SourceError``."""
    try:
        opened = open_regular(file)
    except OSError as error:
        message = f"{file}: cannot be read: {error.strerror or error}; check the file"
        raise SourceError(message) from error
    with opened:
        number = opened.fileno()
        limits = ("-protocol_whitelist", "fd", "-format_whitelist", FORMATS)
        yield OpenInput(("-nostdin", *limits, "-fd", str(number), "-i", "fd:"), (number,))


def piped_input(options: tuple[str, ...]) -> OpenInput:
    """Return the input for what is written to ffmpeg's stdin, in a format that is stated."""
    return OpenInput(("-protocol_whitelist", "pipe", *options, "-i", "pipe:0"), ())
