"""Encode and decode files with an adopted version, in the same sandbox that candidates run in."""

import time
from collections.abc import Callable
from pathlib import Path

from evocodec.app.reports import DecodeReport, EncodeReport
from evocodec.codec.container import EvcHeader, read_evc, write_evc
from evocodec.codec.contract import QP_MAX, QP_MIN
from evocodec.domain.errors import SourceError, UserError
from evocodec.evaluation.clips import load_clip, parse_clip
from evocodec.evaluation.metrics import measure_quality
from evocodec.evaluation.y4m import write_y4m
from evocodec.sandbox.launcher import Launcher
from evocodec.sandbox.policy import Limits

Resolve = Callable[[str], tuple[str, str]]
"""From a reference to (writer id, program text)."""


def encode_file(
    launcher: Launcher,
    limits: Limits,
    resolve: Resolve,
    *,
    source: str,
    output: Path,
    version: str,
    qp: float,
    verify: bool,
) -> EncodeReport:
    """Encode a video file into an ``.evc`` file, written whole or not at all.

    With ``verify`` it is decoded again in a fresh sandbox, and the report carries PSNR-Y in dB.

    Raises:
        UserError: bad qp, source or output.
        CandidateFailure: the version cannot encode this video.
    """
    if not QP_MIN <= qp <= QP_MAX:
        message = f"--qp {qp:g} is outside {QP_MIN:g} (best) … {QP_MAX:g} (smallest); try --qp 30"
        raise UserError(message)
    writer, program = resolve(version)
    clip = load_clip(parse_clip(source))
    started = time.monotonic()
    encoded = launcher.encode(program, clip.frames, clip.stream, qp, limits)
    seconds = time.monotonic() - started
    partial = _partial(output)
    try:
        with partial.open("wb") as file:
            size = write_evc(file, EvcHeader(writer, clip.stream), encoded.packets)
        partial.replace(output)
    except OSError as error:
        raise _cannot_write(output, error) from error
    finally:
        partial.unlink(missing_ok=True)
    psnr = None
    if verify:
        decoded = launcher.decode(program, encoded.packets, clip.stream, limits)
        psnr = measure_quality(clip.frames, decoded.frames).psnr_y_db
    return EncodeReport(
        output=output,
        writer=writer,
        stream=clip.stream,
        frames=len(clip.frames),
        bits=8 * size,
        seconds=seconds,
        psnr_y_db=psnr,
    )


def decode_file(
    launcher: Launcher, limits: Limits, resolve: Resolve, *, source: Path, output: Path
) -> DecodeReport:
    """Decode an ``.evc`` file with the version that wrote it, into a Y4M file.

    Raises:
        UserError: the file is missing, damaged, or its version is not here.
    """
    try:
        data = source.read_bytes()
    except OSError as error:
        message = f"cannot read {source}: {error.strerror or error}"
        raise SourceError(message) from error
    header, packets = read_evc(data)
    _, program = resolve(header.writer)
    started = time.monotonic()
    decoded = launcher.decode(program, tuple(packets), header.stream, limits)
    seconds = time.monotonic() - started
    partial = _partial(output)
    try:
        write_y4m(partial, header.stream, decoded.frames)
        partial.replace(output)
    except OSError as error:
        raise _cannot_write(output, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return DecodeReport(
        output=output,
        writer=header.writer,
        stream=header.stream,
        frames=len(decoded.frames),
        seconds=seconds,
    )


def _partial(output: Path) -> Path:
    return output.with_name(output.name + ".partial")


def _cannot_write(output: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {output}: {error.strerror or error}; name another output file")
