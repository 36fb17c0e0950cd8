"""File encoding and decoding with an adopted version, in the sandbox that candidates run in.

Frames and packets pass through one at a time: memory does not grow with the length of a video.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

from evocodec.app.decode_plan import DecodePlan, limits_for, plan_decode
from evocodec.app.engine import local_launcher, make_limits
from evocodec.app.laboratory import Laboratory
from evocodec.app.outputs import DecodeReport, EncodeReport
from evocodec.codec.container import EvcHeader, EvcWriter, read_evc
from evocodec.codec.contract import QP_MAX, QP_MIN
from evocodec.codec.program import Program
from evocodec.config import bytes_of_mib
from evocodec.domain.errors import EvocodecError, SourceError, UserError
from evocodec.domain.video import Frame, StreamInfo
from evocodec.metrics.psnr import plane_psnr
from evocodec.regular_files import create_new, open_regular
from evocodec.sandbox.launcher import Launcher
from evocodec.sandbox.policy import Limits
from evocodec.video.clip_cache import clip_cache
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import iter_source, video_info
from evocodec.video.data_options import S3_SCHEME
from evocodec.video.s3_source import upload
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
    qp: float = 30.0,
    verify: bool = True,
    on_progress: OnProgress = lambda _what, _done, _of: None,
) -> EncodeReport:
    """Encode a video into an ``.evc`` file, written whole or not at all.

    ``source`` is what ``--clip`` takes, and either may lie in S3. ``version`` is an adopted version
    or any other program. The sandbox starts once both have been found good. With ``verify`` the
    file is decoded again in a fresh sandbox, and the report carries PSNR-Y in dB.

    Raises:
        UserError: bad qp, source or output.
        CandidateFailure: the version cannot encode this video.
    """
    if not QP_MIN <= qp <= QP_MAX:
        message = f"--qp {qp:g} is outside {QP_MIN:g} (best) … {QP_MAX:g} (smallest); try --qp 30"
        raise UserError(message)
    writer, program = lab.resolver.program(version)
    video = _one_source(source)
    on_progress("counting frames", 0, 0)
    info = video_info(video)
    stream = info.stream
    limits = limits_for(make_limits(lab.settings), stream)
    frames = _SourceFrames(video, stream, on_progress)
    with local_launcher(lab.settings) as launcher, _written(output) as file:
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
    lab: Laboratory, source: str, output: str, *, max_bytes: int | None = None
) -> DecodePlan:
    """Say what ``decode_file`` would write; raises as that does."""
    with fetched(source) as path:
        plan = plan_decode(path, source=source, output=output, max_bytes=_limit(lab, max_bytes))
    lab.resolver.writer(plan.writer)
    return plan


def decode_file(
    lab: Laboratory,
    source: str,
    output: str,
    *,
    max_bytes: int | None = None,
    on_progress: OnProgress = lambda _what, _done, _of: None,
) -> DecodeReport:
    """Decode an ``.evc`` file with the version that wrote it, into a Y4M file.

    The sandbox starts once the file and its version have been found good. ``max_bytes`` is what
    may be written; None: the setting ``data.max_decode_mib``.

    Raises:
        UserError: the file is missing, damaged or too large, or its version is not here.
    """
    most = _limit(lab, max_bytes)
    with fetched(source) as path:
        plan = plan_decode(path, source=source, output=output, max_bytes=most)
        stream = plan.stream
        program = lab.resolver.writer(plan.writer)
        limits = limits_for(make_limits(lab.settings), stream)
        with local_launcher(lab.settings) as launcher, _written(output) as file:
            y4m = Y4mWriter(file, stream)

            def on_frame(index: int, frame: Frame) -> None:
                with _writing(file.name):
                    y4m.frame(index, frame)
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
        self._writer = EvcWriter(file, header)
        self._count = 0

    def __call__(self, index: int, packet: bytes) -> None:
        with _writing(self._file.name):
            if index == 0 and self._count:
                self._file.seek(0)
                self._file.truncate()
                self._writer = EvcWriter(self._file, self._header)
            self._writer.packet(packet)
        self._count = index + 1

    def finish(self) -> int:
        """End the file and return its size in bytes."""
        with _writing(self._file.name):
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
    return math.fsum(values) / len(values)


def _one_source(text: str) -> ClipSource:
    sources = named_clips((text,))
    if len(sources) != 1:
        names = ", ".join(source.name for source in sources)
        raise SourceError(f"{text} is several clips: {names}; choose one as {text}/NAME")
    return sources[0]


@contextmanager
def _written(output: str) -> Iterator[BinaryIO]:
    """A file that gets its name, or its place in S3, only when all went well."""
    remote = output.startswith(S3_SCHEME)
    if remote:
        cache = clip_cache()
        cache.prepare()
        held = cache.create()
        partial = held.path
    else:
        partial = Path(output + ".part")
    try:
        with _writing(output):
            file = create_new(partial)
        with file:
            yield file
            with _writing(output):
                file.flush()
        with _writing(output):
            if remote:
                upload(partial, output)
            else:
                partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _writing(name: str) -> Iterator[None]:
    try:
        yield
    except EvocodecError:
        raise
    except OSError as error:
        output = name.removesuffix(".part")
        raise UserError(
            f"cannot write {output}: {error.strerror or error}; name another output file"
        ) from error
