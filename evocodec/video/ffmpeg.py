"""The ffmpeg binary inside imageio-ffmpeg: decodes sources and encodes anchors.

Decoding yields 8-bit 4:2:0, BT.709, limited range, whatever the file holds. Ranges and matrices are
converted explicitly: a full-range file that is read as limited range looks almost right, and costs
about 10 dB of PSNR.
"""

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

import imageio_ffmpeg

from evocodec.domain.errors import InfrastructureFailure, SourceError
from evocodec.domain.video import Frame
from evocodec.regular_files import why_not_regular
from evocodec.video.ffmpeg_input import open_input, piped_input
from evocodec.video.y4m import Y4mReader

_SAME_MATRIX = ("", "bt709", "unknown")
_PROBE_SECONDS = 60
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Probe:
    """Declared properties of the first video stream of a file, after rotation."""

    width: int
    height: int
    pixel_format: str
    colour_range: str  # "tv", "pc" or "" when the file does not say
    matrix: str  # ffmpeg's name of the YUV matrix, or "" when the file does not say

    @property
    def is_native(self) -> bool:
        """Whether samples need no conversion."""
        return (
            self.pixel_format == "yuv420p"
            and self.colour_range != "pc"
            and self.matrix in _SAME_MATRIX
        )


@dataclass(frozen=True, slots=True)
class Feed:
    """Parts of a file that ffmpeg gets through a pipe, instead of opening the file itself.

    ``segments`` are (first byte, length); ``options`` come before ffmpeg's ``-i``. ``declared`` is
    the stream's declaration, which has been read already.
    """

    file: Path
    segments: tuple[tuple[int, int], ...]
    options: tuple[str, ...]
    declared: Probe


@cache
def ffmpeg_exe() -> str:
    """Path of the ffmpeg binary; raises ``InfrastructureFailure`` when there is none."""
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise InfrastructureFailure(
            f"no ffmpeg: {error}; reinstall it with `pip install --force-reinstall imageio-ffmpeg`"
        ) from error


@cache
def ffmpeg_version() -> str:
    """First line of ``ffmpeg -version``: part of every anchor's identity."""
    done = subprocess.run([ffmpeg_exe(), "-version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].partition(" Copyright")[0]


def check_readable(path: str) -> Path:
    """Return the path of a regular, non-empty local file, or raise ``SourceError``."""
    file = Path(path).expanduser()
    if file.is_dir():
        raise SourceError(f"{path}: is a directory; name one video file inside it")
    if not file.exists():
        raise SourceError(f"{path}: no such file; check the spelling and the current directory")
    status = file.stat()
    why = why_not_regular(status.st_mode)
    if why:
        raise SourceError(f"{path}: {why}, not a regular file; copy what it yields into a file")
    if status.st_size == 0:
        raise SourceError(f"{path}: the file is empty (0 bytes); copy or download it again")
    return file


def probe(path: str) -> Probe:
    """Read the declaration of the first video stream; raises ``SourceError`` when there is none."""
    file = check_readable(path)
    with open_input(file) as source:
        done = subprocess.run(
            [ffmpeg_exe(), *source.options, "-hide_banner"],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
            pass_fds=source.descriptors,
        )
    report = done.stderr.decode("utf-8", "replace")
    streams = re.findall(r"^\s*Stream #\S+: Video: (.*)$", report, flags=re.MULTILINE)
    streams = [line for line in streams if "(attached pic)" not in line]
    if streams:
        declared = parse_video_line(streams[0])
        if re.search(r"rotation of -?90", report):  # ffmpeg turns phone videos upright
            declared = replace(declared, width=declared.height, height=declared.width)
        return declared
    if "Stream #" in report:
        raise SourceError(f"{path}: has no video stream (sound only?); name a video file")
    raise SourceError(
        f"{path}: ffmpeg cannot read it: {_last_line(report)}; it is damaged or not a video"
    )


def parse_video_line(line: str) -> Probe:
    """Parse what follows ``Video:`` in ffmpeg's report of an input."""
    fields = re.findall(r"(?:[^,(]|\([^)]*\))+", line)
    match = re.match(r"\s*(\w+)(?:\(([^)]*)\))?", fields[1] if len(fields) > 1 else "")
    size = re.search(r", (\d+)x(\d+)", line)
    if match is None or match[1] == "none" or size is None:
        raise SourceError(f"the video stream has no size or pixel format to decode: {line}")
    notes = [note.strip() for note in (match[2] or "").split(",")]
    colour_range = next((note for note in notes if note in ("tv", "pc")), "")
    spaces = [note for note in notes if "/" in note or note.startswith(("bt", "smpte", "fcc"))]
    matrix = spaces[0].split("/")[0] if spaces else ""
    if match[1].startswith("yuvj"):
        colour_range = "pc"
    return Probe(
        width=int(size[1]),
        height=int(size[2]),
        pixel_format=match[1],
        colour_range=colour_range,
        matrix="" if matrix == "unknown" else matrix,
    )


class Decoding:
    """A running decoder: size and rate of its output, and its frames."""

    def __init__(
        self, process: subprocess.Popen[bytes], complaints: BinaryIO, path: str, *, strict: bool
    ) -> None:
        self._process = process
        self._complaints = complaints
        self._path = path
        self._strict = strict
        pipe = cast(BufferedReader, process.stdout)
        if not pipe.peek(1):
            process.wait()
            reason = self._complaint() or "there is no frame in the part asked for"
            raise SourceError(
                f"{path}: nothing could be decoded: {reason}; check the part and the file"
            )
        self._reader = Y4mReader(pipe, path)
        self.width, self.height = self._reader.width, self._reader.height
        self.fps = self._reader.fps

    def frames(self) -> Iterator[Frame]:
        """Yield every frame; raises ``SourceError`` at the end if the file was damaged."""
        count = 0
        for frame in self._reader.frames():
            yield frame
            count += 1
        code = self._process.wait()
        complaint = self._complaint()
        if code != 0 or (self._strict and complaint):
            raise SourceError(
                f"{self._path}: damaged or truncated: {complaint or f'ffmpeg exit {code}'}; "
                f"{count} frames could be decoded: ask for frames before the damage, for example "
                f"`{self._path}@0-{max(1, count - 1)}`, or get a whole copy of the file"
            )

    def _complaint(self) -> str:
        self._complaints.seek(0)
        return _last_line(self._complaints.read().decode("utf-8", "replace"))


@contextmanager
def decoding(
    path: str, filters: str, *, strict: bool, feed: Feed | None = None
) -> Iterator[Decoding]:
    """Start a decoder that yields 8-bit 4:2:0 frames after ``filters``; ends with the block.

    Every frame of the file comes once: none is dropped or repeated to fit a rate. ``strict`` turns
    damage that ffmpeg conceals into an error. With a ``feed``, ``path`` is only the name in
    messages. Raises ``SourceError``.
    """
    command = (
        *("-v", "error", "-map", "0:V:0", "-fps_mode", "passthrough", "-vf", filters),
        *("-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "-"),
    )
    with (
        tempfile.TemporaryFile() as complaints,
        _running(path, feed, command, complaints) as process,
    ):
        yield Decoding(process, complaints, path, strict=strict)


def count_frames(path: str, filters: str, *, feed: Feed | None = None) -> int:
    """Count the frames that ``decoding`` yields, by decoding."""
    command = (
        *("-v", "error", "-map", "0:V:0", "-fps_mode", "passthrough", "-vf", filters),
        *("-f", "null", "-progress", "pipe:1", "-"),
    )
    with (
        tempfile.TemporaryFile() as complaints,
        _running(path, feed, command, complaints) as process,
    ):
        report = cast(BinaryIO, process.stdout).read().decode("ascii", "replace")
    counts: list[str] = re.findall(r"^frame=\s*(\d+)", report, flags=re.MULTILINE)
    return int(counts[-1]) if counts else 0


@contextmanager
def _running(
    path: str, feed: Feed | None, command: tuple[str, ...], stderr: BinaryIO
) -> Iterator[subprocess.Popen[bytes]]:
    stdin = subprocess.DEVNULL if feed is None else subprocess.PIPE
    opening = nullcontext(piped_input(feed.options)) if feed else open_input(check_readable(path))
    with (
        opening as source,
        subprocess.Popen(
            [ffmpeg_exe(), *source.options, *command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            pass_fds=source.descriptors,
        ) as process,
    ):
        feeder = None
        if feed is not None:
            feeder = threading.Thread(target=_pour, args=(feed, process.stdin), daemon=True)
            feeder.start()
        try:
            yield process
        finally:
            process.kill()
            if feeder is not None:
                feeder.join()


def _pour(feed: Feed, pipe: BinaryIO) -> None:
    # A decoder that has what it wants closes the pipe; a file that cannot be read ends early, and
    # then the decoder complains of what is missing.
    with suppress(OSError), pipe, feed.file.open("rb") as file:
        for start, length in feed.segments:
            place, end = start, start + length
            while place < end:
                data = os.pread(file.fileno(), min(_PIECE_BYTES, end - place), place)
                if not data:
                    return
                pipe.write(data)
                place += len(data)


def _last_line(report: str) -> str:
    lines = [line.strip() for line in report.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Error opening", "At least one"))]
    return (telling or lines or [""])[-1][:300]
