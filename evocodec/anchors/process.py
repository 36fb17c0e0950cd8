"""Anchor processes: run an encoder or a decoder, and meter its CPU time and memory.

CPU seconds are the kernel's figure for that process and its threads. Peak memory is the high-water
mark of the process as last read while it ran: the figure that the kernel reports at its end would
include the memory of the parent process.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from evocodec.anchors.encoders import AnchorEncoder
from evocodec.domain.errors import InfrastructureFailure, SourceError
from evocodec.domain.results import ResourceUse
from evocodec.domain.video import Frame, Plane, StreamInfo
from evocodec.video.ffmpeg import ffmpeg_exe
from evocodec.video.ffmpeg_input import open_input
from evocodec.video.y4m import Y4mReader, pack_frame

_POLL_SECONDS = 0.01


class MeteredProcess:
    """A metered child process with pipes; a context manager that never leaves it running.

    Once ``cancelled`` returns True, the next call here raises ``InfrastructureFailure``.
    """

    def __init__(
        self,
        command: list[str],
        *,
        feed: bool,
        cancelled: Callable[[], bool] | None = None,
        descriptors: tuple[int, ...] = (),
    ) -> None:
        self._cancelled = cancelled
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._started = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if feed else subprocess.PIPE,
            stderr=self._complaints,
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C is for its parent, which ends it in order
        )
        self._peak_bytes = 0

    def __enter__(self) -> "MeteredProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._complaints.close()

    @property
    def output(self) -> BufferedReader:
        """Standard output of the process."""
        return cast(BufferedReader, self._process.stdout)

    def feed(self, pictures: Iterable[bytes]) -> None:
        """Write pictures; stops silently when the process has ended: ``finish`` reports why."""
        stdin = cast(BinaryIO, self._process.stdin)
        with suppress(BrokenPipeError):
            for picture in pictures:
                stdin.write(picture)
                self.sample()
        with suppress(BrokenPipeError):
            stdin.close()

    def sample(self) -> None:
        """Record the memory of the process now; also checks for a cancellation."""
        if self._cancelled is not None and self._cancelled():
            raise InfrastructureFailure("stopped while an anchor was being measured")
        with suppress(OSError, ValueError):
            text = Path(f"/proc/{self._process.pid}/status").read_text()
            _, found, rest = text.partition("VmHWM:")
            if found:
                self._peak_bytes = max(self._peak_bytes, 1024 * int(rest.split(maxsplit=1)[0]))

    def finish(self) -> tuple[int, str, ResourceUse]:
        """Wait for the end; returns the exit code, standard error and resource use."""
        while True:
            self.sample()
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(_POLL_SECONDS)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._complaints.seek(0)
        report = self._complaints.read().decode("utf-8", "replace").strip()
        took = ResourceUse(
            wall_seconds=time.perf_counter() - self._started,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_memory_bytes=self._peak_bytes,
        )
        return self._process.returncode, report, took


def encode(
    frames: Iterable[Frame],
    stream: StreamInfo,
    encoder: AnchorEncoder,
    rate: float,
    output: Path,
    *,
    cancelled: Callable[[], bool] | None = None,
) -> ResourceUse:
    """Write the raw stream of one rate to ``output``.

    Odd sizes are padded to even by repeating the last row or column: 4:2:0 streams of these
    encoders have no odd sizes. Raises ``InfrastructureFailure`` with the error text of the encoder.
    """
    size = (stream.width + stream.width % 2, stream.height + stream.height % 2)
    command = encoder.command(ffmpeg_exe(), size, stream.fps, rate, str(output))
    with MeteredProcess(command, feed=True, cancelled=cancelled) as process:
        process.feed(pack_frame(_pad_to_even(frame)) for frame in frames)
        code, report, usage = process.finish()
    if code != 0 or not output.exists() or output.stat().st_size == 0:
        raise InfrastructureFailure(
            f"{encoder.name} failed at {encoder.rate_flag[1:]} {rate:g} (exit {code}): "
            f"{report[-500:] or 'it wrote nothing'}"
        )
    return usage


class AnchorDecoding:
    """Frames of a raw stream as they are decoded, cropped to ``stream``; ``usage`` afterwards.

    Samples of more than 8 bits are rounded: swscale would dither them, at the cost of a codec with
    10-bit reconstruction.
    """

    def __init__(self, bitstream: Path, stream: StreamInfo, *, filters: str = "") -> None:
        self._bitstream = bitstream
        self._stream = stream
        self._filters = filters
        self.usage = ResourceUse()

    def frames(self) -> Iterator[Frame]:
        """Yield every frame.

        Raises ``InfrastructureFailure`` when ffmpeg fails, ``SourceError`` when sizes differ.
        """
        with open_input(self._bitstream) as source:
            command = [
                *(ffmpeg_exe(), "-v", "error", "-threads", "1", *source.options),
                *("-map", "0:V:0", "-fps_mode", "passthrough", "-sws_dither", "none"),
                *(("-vf", self._filters) if self._filters else ()),
                *("-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "-"),
            ]
            process = MeteredProcess(command, feed=False, descriptors=source.descriptors)
        with process:
            if process.output.peek(1):
                reader = Y4mReader(process.output, self._bitstream.name)
                self._check_size(reader.width, reader.height)
                for frame in reader.frames():
                    process.sample()
                    yield self._cropped(frame)
            code, report, self.usage = process.finish()
        if code != 0:
            raise InfrastructureFailure(
                f"ffmpeg cannot decode {self._bitstream.name} (exit {code}): {report[-500:]}"
            )

    def _check_size(self, width: int, height: int) -> None:
        wanted = self._stream.width, self._stream.height
        if any(
            have not in (want, want + want % 2)
            for have, want in zip((width, height), wanted, strict=True)
        ):
            raise SourceError(
                f"its pictures are {width}x{height}, the clip's {wanted[0]}x{wanted[1]}; encode "
                "exactly the clip's frames, without scaling or cropping"
            )

    def _cropped(self, frame: Frame) -> Frame:
        return frame._replace(y=frame.y[: self._stream.height, : self._stream.width])


def _pad_to_even(frame: Frame) -> Frame:
    height, width = frame.y.shape
    if height % 2 == 0 and width % 2 == 0:
        return frame
    luma = cast(Plane, np.pad(frame.y, ((0, height % 2), (0, width % 2)), mode="edge"))
    return frame._replace(y=luma)
