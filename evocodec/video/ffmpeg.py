"""The ffmpeg binary inside imageio-ffmpeg: decodes sources and encodes anchors.

Decoding yields 8-bit 4:2:0, BT.709, limited range, whatever the file holds. Ranges and matrices are
converted explicitly: a full-range file that is read as limited range looks almost right, and costs
about 10 dB of PSNR.
"""

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

import imageio_ffmpeg

from evocodec.domain.errors import InfrastructureFailure, SourceError
from evocodec.domain.video import Frame
from evocodec.input_file import input_file
from evocodec.regular_files import open_regular
from evocodec.video.declared import Probe, parse_report
from evocodec.video.ffmpeg_input import open_input, piped_input
from evocodec.video.ffmpeg_messages import cause
from evocodec.video.frame_times import FrameTimes, parse_times
from evocodec.video.y4m import Y4mReader

_PROBE_SECONDS = 60
_PIECE_BYTES = 1 << 20
_TOLD_TO_STOP = 255  # ffmpeg's exit code after a signal that it handles
_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU})
_REPORT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Feed:
    """Parts of a file that ffmpeg gets through a pipe, instead of opening the file itself.

    ``segments`` are (first byte, length); ``options`` come before ffmpeg's ``-i``. ``declared`` is
    the stream's declaration, which has been read already. ``pictures`` are files that are poured
    whole, one after the other, instead; ``convert`` makes each a PNG first.
    """

    file: Path
    segments: tuple[tuple[int, int], ...]
    options: tuple[str, ...]
    declared: Probe
    pictures: tuple[Path, ...] = ()
    convert: bool = False


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


def require_own_end(code: int, path: str) -> None:
    """Raise ``InfrastructureFailure`` when somebody else ended an ffmpeg that read ``path``.

    A machine that is out of memory does so; the video is not damaged for that. A signal that a
    crash of ffmpeg itself ends with may well be the video's fault.
    """
    if code == _TOLD_TO_STOP or -code in _FROM_OUTSIDE:
        how = "a signal" if code > 0 else signal.Signals(-code).name
        raise InfrastructureFailure(
            f"ffmpeg was ended by {how} while it read {path}: the machine is out of memory, or "
            "somebody stopped it. Free memory, or use fewer slots, and repeat"
        )


def probe(path: str) -> Probe:
    """Read the declaration of the first video stream; raises ``SourceError`` when there is none."""
    file = input_file(path)
    with open_input(file) as source:
        done = subprocess.run(
            [ffmpeg_exe(), *source.options, "-hide_banner"],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
            start_new_session=True,  # Ctrl-C is for its parent, which ends it in order
            pass_fds=source.descriptors,
        )
    require_own_end(done.returncode, path)
    report = done.stderr.decode("utf-8", "replace")
    try:
        declared = parse_report(report)
    except SourceError as error:
        raise SourceError(
            f"{path}: {error}: {cause(report)}; it is damaged or cut off: get a whole copy"
        ) from error
    if declared is not None:
        return declared
    if "Stream #" in report:
        raise SourceError(f"{path}: has no video stream (sound only?); name a video file")
    raise SourceError(
        f"{path}: ffmpeg cannot read it: {cause(report)}; it is damaged or not a video: get "
        "a whole copy, and see whether another program plays it"
    )


@dataclass(frozen=True, slots=True)
class DecodeOutcome:
    """What one decode came to.

    ``clean`` frames had come when ffmpeg complained for the first time; ``complaint`` is empty
    where it did not. ``times`` are the timestamps of the frames.
    """

    count: int
    clean: int
    complaint: str
    times: FrameTimes


class Decoding:
    """A running decoder: size and rate of its output, its frames, and what it complained of."""

    def __init__(
        self, process: subprocess.Popen[bytes], complaints: BinaryIO, clock: BinaryIO, path: str
    ) -> None:
        self._process = process
        self._complaints = complaints
        self._clock = clock
        self._path = path
        self._outcome: DecodeOutcome | None = None
        pipe = cast(BufferedReader, process.stdout)
        if not pipe.peek(1):
            require_own_end(process.wait(), path)
            reason = self._complaint() or "there is no frame in the part asked for"
            raise SourceError(
                f"{path}: nothing could be decoded: {reason}; check the part and the file"
            )
        self._reader = Y4mReader(pipe, path)
        self.width, self.height = self._reader.width, self._reader.height
        self.fps = self._reader.fps

    def frames(self) -> Iterator[Frame]:
        """Yield every frame that comes; ``outcome`` is known after the last one."""
        count, clean = 0, None
        try:
            for frame in self._reader.frames():
                # A decoder complains of a frame before it hands it on.
                if clean is None and self._complained():
                    clean = count
                yield frame
                count += 1
        except SourceError:
            require_own_end(self._process.wait(), self._path)
            raise
        code = self._process.wait()
        require_own_end(code, self._path)
        complaint = self._complaint()
        if code != 0 and not complaint:
            complaint = f"ffmpeg exit {code}"
        self._clock.seek(0)
        times = parse_times(line.decode("ascii", "replace") for line in self._clock)
        self._outcome = DecodeOutcome(count, count if clean is None else clean, complaint, times)

    @property
    def outcome(self) -> DecodeOutcome:
        """What the decode came to; raises ``RuntimeError`` before its end."""
        if self._outcome is None:
            raise RuntimeError("the decoder has not come to its end")
        return self._outcome

    def _complained(self) -> bool:
        return os.fstat(self._complaints.fileno()).st_size > 0 and bool(self._complaint())

    def _complaint(self) -> str:
        # By position: ffmpeg writes on at the place that a seek here would move.
        report = os.pread(self._complaints.fileno(), _REPORT_BYTES, 0)
        return cause(report.decode("utf-8", "replace"))


@contextmanager
def decoding(
    path: str,
    filters: str,
    *,
    feed: Feed | None = None,
    threads: int | None = None,
    seek_seconds: Fraction | None = None,
) -> Iterator[Decoding]:
    """Start a decoder that yields 8-bit 4:2:0 frames after ``filters``; ends with the block.

    Every frame of the file comes once: none is dropped or repeated to fit a rate. Damage is no
    error here: ``Decoding.outcome`` tells. With ``seek_seconds`` the decoder starts at the keyframe
    before that time. With a ``feed``, ``path`` is only the name in messages. Raises
    ``SourceError``.
    """
    before = () if seek_seconds is None else ("-ss", f"{float(seek_seconds):.6f}")
    if threads is not None:
        before = (*before, "-threads", str(threads))
    with (
        tempfile.TemporaryFile() as complaints,
        tempfile.TemporaryFile() as clock,
    ):
        command = (
            *("-map", "0:V:0", "-fps_mode", "passthrough", "-vf", filters, "-pix_fmt", "yuv420p"),
            *("-stats_enc_pre", f"/dev/fd/{clock.fileno()}", "-stats_enc_pre_fmt", "{ptsi} {tbi}"),
            *("-f", "yuv4mpegpipe", "-"),
        )
        with _running(path, feed, before, command, complaints, clock.fileno()) as process:
            yield Decoding(process, complaints, clock, path)


@contextmanager
def _running(
    path: str,
    feed: Feed | None,
    before: tuple[str, ...],
    command: tuple[str, ...],
    stderr: BinaryIO,
    clock: int,
) -> Iterator[subprocess.Popen[bytes]]:
    stdin = subprocess.DEVNULL if feed is None else subprocess.PIPE
    opening = nullcontext(piped_input(feed.options)) if feed else open_input(input_file(path))
    with (
        opening as source,
        subprocess.Popen(
            [ffmpeg_exe(), "-v", "error", *before, *source.options, *command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            pass_fds=(*source.descriptors, clock),
            start_new_session=True,  # Ctrl-C is for its parent, which ends it in order
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
    if feed.pictures:
        with suppress(OSError, SourceError), pipe:
            for picture in feed.pictures:
                pipe.write(_as_png(picture) if feed.convert else _contents(picture))
        return
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


def _contents(picture: Path) -> bytes:
    with open_regular(picture) as file:
        return file.read()


def _as_png(picture: Path) -> bytes:
    with open_input(picture) as source:
        done = subprocess.run(
            [
                *(ffmpeg_exe(), "-v", "error", *source.options),
                *("-frames:v", "1", "-c:v", "png", "-f", "image2pipe", "-"),
            ],
            capture_output=True,
            check=False,
            pass_fds=source.descriptors,
        )
    return done.stdout
