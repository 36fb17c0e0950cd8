"""File encoding and decoding with an adopted version, in the sandbox that candidates run in.

Frames and packets pass through one at a time: memory does not grow with the length of a video.
"""

import atexit
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import BinaryIO, TypeAlias

from evocodec.app.decode_plan import DecodePlan, limits_for, plan_decode
from evocodec.app.engine import local_launcher, make_limits
from evocodec.app.laboratory import Laboratory
from evocodec.app.output_places import OutputPlaces
from evocodec.app.outputs import DecodeReport, EncodeReport
from evocodec.codec.container import EvcHeader, EvcWriter, read_evc
from evocodec.codec.contract import QP_MAX, QP_MIN, USUAL_QP
from evocodec.codec.program import Program
from evocodec.config import bytes_of_mib
from evocodec.domain.errors import SourceError, UserError
from evocodec.domain.video import Frame, StreamInfo
from evocodec.file_kinds import EVC, Y4M
from evocodec.input_file import is_here
from evocodec.metrics.psnr import mean_psnr, plane_psnr
from evocodec.regular_files import open_regular
from evocodec.sandbox.launcher import Launcher
from evocodec.sandbox.policy import Limits
from evocodec.video.clip_cache import clip_cache
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import iter_source, video_info
from evocodec.video.sources import fetched
from evocodec.video.test_sets import named_clips
from evocodec.video.y4m import Y4mWriter

OnProgress: TypeAlias = Callable[[str, int, int], None]
"""What is being done, how many frames are done, and of how many."""


def encode_file(
    lab: Laboratory,
    source: str,
    output: str,
    *,
    version: str = "current",
    qp: float = USUAL_QP,
    verify: bool = True,
    force: bool = False,
    on_progress: OnProgress = lambda _what, _done, _of: None,
) -> EncodeReport:
    """Encode a video into an ``.evc`` file, written whole or not at all.

    ``source`` is what ``--clip`` takes, and either may lie in S3. ``version`` is an adopted version
    or any other program. The sandbox starts once both have been found good. With ``verify`` the
    file is decoded again in a fresh sandbox, and the report carries PSNR-Y in dB. ``force``
    replaces a file that is no ``.evc`` file.

    Raises:
        UserError: bad qp or source, or an output that cannot or must not be written.
        CandidateFailure: the version cannot encode this video.
    """
    if not QP_MIN <= qp <= QP_MAX:
        message = f"--qp {qp:g} is outside {QP_MIN:g} (best) … {QP_MAX:g} (smallest); try --qp 30"
        raise UserError(message)
    video = _one_source(source)
    inputs = (video.path, version)
    out = OutputPlaces(lab).output_anywhere(output, EVC, inputs=inputs, force=force)
    writer, program = lab.resolver.program(version)
    on_progress("counting frames", 0, 0)
    info = video_info(video)
    stream = info.stream
    limits = limits_for(make_limits(lab.settings), stream)
    frames = _SourceFrames(video, stream, on_progress)
    # A lost job begins the file anew, and what is verified is read from it.
    with local_launcher(lab.settings) as launcher, out.writing(seekable=True) as file:
        sink = _PacketFile(file, EvcHeader(writer, stream))
        started = time.monotonic()
        launcher.encode(program.text, frames, stream, qp, limits, on_packet=sink)
        seconds = time.monotonic() - started
        size = sink.finish()
        psnr = None
        if verify:
            psnr = _verify(launcher, limits, program, Path(file.name), frames, on_progress)
    return EncodeReport(
        output=output,
        writer=writer,
        stream=stream,
        frames=stream.frame_count,
        bits=8 * size,
        seconds=seconds,
        psnr_y_db=psnr,
        notices=info.notices,
    )


def plan_decoding(
    lab: Laboratory,
    source: str,
    output: str,
    *,
    max_bytes: int | None = None,
    force: bool = False,
) -> DecodePlan:
    """Say what ``decode_file`` would write; raises as that does."""
    OutputPlaces(lab).output_anywhere(output, Y4M, inputs=(source,), force=force)
    with _fetched(source) as path:
        plan = plan_decode(path, source=source, output=output, max_bytes=_limit(lab, max_bytes))
    lab.resolver.writer(plan.writer)
    return plan


def decode_file(
    lab: Laboratory,
    source: str,
    output: str,
    *,
    max_bytes: int | None = None,
    force: bool = False,
    on_progress: OnProgress = lambda _what, _done, _of: None,
) -> DecodeReport:
    """Decode an ``.evc`` file with the version that wrote it, into a Y4M file.

    The sandbox starts once the file and its version have been found good. ``max_bytes`` is what
    may be written; None: the setting ``data.max_decode_mib``. ``force`` replaces a file that we
    have not decoded.

    Raises:
        UserError: the file is missing, damaged or too large, or its version is not here.
    """
    most = _limit(lab, max_bytes)
    out = OutputPlaces(lab).output_anywhere(output, Y4M, inputs=(source,), force=force)
    with _fetched(source) as path:
        plan = plan_decode(path, source=source, output=output, max_bytes=most)
        stream = plan.stream
        program = lab.resolver.writer(plan.writer)
        limits = limits_for(make_limits(lab.settings), stream)
        with local_launcher(lab.settings) as launcher, out.writing() as file:
            y4m = Y4mWriter(file, stream)
            written = 0

            def on_frame(index: int, frame: Frame) -> None:
                nonlocal written
                # A lost job is begun anew, and what went into a pipe cannot be taken back.
                if not out.is_stream or index == written:
                    y4m.frame(index, frame)
                    written = index + 1
                on_progress("decoding", index + 1, stream.frame_count)

            started = time.monotonic()
            packets = _FilePackets(path)
            launcher.decode(program.text, packets, stream, limits, on_frame=on_frame)
            seconds = time.monotonic() - started
    return DecodeReport(
        output=output,
        writer=plan.writer,
        stream=stream,
        frames=stream.frame_count,
        seconds=seconds,
        output_bytes=plan.output_bytes,
        max_bytes=most,
    )


def _fetched(source: str) -> AbstractContextManager[Path]:
    """Return a path to an ``.evc`` file; ``-`` is stdin, unless there is a file of that name."""
    if source == "-" and not is_here(source):
        return nullcontext(_stdin())
    return fetched(source)


@cache
def _stdin() -> Path:
    """Keep what stdin has in a file, until the process ends: it is read once, and needed twice."""
    if sys.stdin is None or sys.stdin.isatty():
        raise SourceError("stdin is a terminal; name a file, or send one: < FILE")
    held = clip_cache().create()
    atexit.register(held.path.unlink, missing_ok=True)
    try:
        with held.path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        message = f"cannot keep what comes from stdin: {error.strerror or error}; name a file"
        raise UserError(message) from error
    if held.path.stat().st_size == 0:
        raise SourceError("nothing came from stdin; check the command before the pipe")
    return held.path


def _limit(lab: Laboratory, max_bytes: int | None) -> int:
    return bytes_of_mib(lab.settings.data.max_decode_mib) if max_bytes is None else max_bytes


class _SourceFrames:
    """A video's frames, read anew whenever they are iterated."""

    def __init__(self, source: ClipSource, stream: StreamInfo, on_progress: OnProgress) -> None:
        self.stream = stream
        self._source = source
        self._on_progress = on_progress

    def read(self) -> Iterator[Frame]:
        """Exactly as many frames as there were when they were counted."""
        count = 0
        for frame in iter_source(self._source):
            yield frame
            count += 1
        if count != self.stream.frame_count:
            raise SourceError(
                f"{self._source.path}: {count} frames where {self.stream.frame_count} were counted "
                "before: did it change meanwhile? Run it again"
            )

    def __iter__(self) -> Iterator[Frame]:
        for index, frame in enumerate(self.read()):
            yield frame
            self._on_progress("encoding", index + 1, self.stream.frame_count)


class _PacketFile:
    """Takes packets as they come, and begins anew when a lost job is repeated."""

    def __init__(self, file: BinaryIO, header: EvcHeader) -> None:
        self._file = file
        self._header = header
        self._writer = EvcWriter(file, header, checked=True)
        self._count = 0

    def __call__(self, index: int, packet: bytes) -> None:
        if index == 0 and self._count:
            self._file.seek(0)
            self._file.truncate()
            self._writer = EvcWriter(self._file, self._header, checked=True)
        self._writer.packet(packet)
        self._count = index + 1

    def finish(self) -> int:
        """End the file and return its size in bytes."""
        size = self._writer.finish()
        self._file.flush()
        return size


class _FilePackets:
    """The packets of a file, read anew whenever they are iterated."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        with open_regular(self._path) as file:
            yield from read_evc(file)[1]


def _verify(
    launcher: Launcher,
    limits: Limits,
    program: Program,
    coded: Path,
    frames: _SourceFrames,
    on_progress: OnProgress,
) -> float:
    values: list[float] = []
    reference = frames.read()

    def on_frame(index: int, frame: Frame) -> None:
        nonlocal reference
        if index == 0 and values:
            values.clear()
            reference = frames.read()
        values.append(plane_psnr(next(reference).y, frame.y))
        on_progress("verifying", index + 1, frames.stream.frame_count)

    launcher.decode(program.text, _FilePackets(coded), frames.stream, limits, on_frame=on_frame)
    return mean_psnr(values)[0]


def _one_source(text: str) -> ClipSource:
    sources = named_clips((text,))
    if len(sources) != 1:
        names = ", ".join(source.name for source in sources)
        raise SourceError(f"{text} is several clips: {names}; choose one as {text}/NAME")
    return sources[0]
