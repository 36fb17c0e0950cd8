"""Decode plan: what decoding a file will write, checked before anything of it is decoded."""

import math
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from evocodec.codec.container import EvcSummary, skim
from evocodec.domain.errors import ContainerError, SourceError, UserError
from evocodec.domain.video import StreamInfo
from evocodec.formatting import size
from evocodec.regular_files import open_regular
from evocodec.sandbox.policy import Limits
from evocodec.video.clip_cache import clip_cache
from evocodec.video.data_options import S3_SCHEME
from evocodec.video.y4m import y4m_bytes

_LIMITED_SAMPLES = 64 * 480 * 270
"""The luma samples that the configured limits of time are meant for; more get more time."""

_MOST_TIMES = 720
"""How many times the configured limits of time at most: a day, with 120 seconds."""


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """What a file claims, and the size in bytes of the Y4M file that it becomes."""

    source: str
    output: str
    writer: str
    stream: StreamInfo
    packets: int
    file_bytes: int
    output_bytes: int
    max_bytes: int


def plan_decode(path: Path, *, source: str, output: str, max_bytes: int) -> DecodePlan:
    """Read what a local file claims, and check that its frames may and can be written.

    ``source`` and ``output`` are the names that messages use.

    Raises:
        UserError: the file is missing, no regular file or damaged; or its frames would take more
            than ``max_bytes`` or than is free.
    """
    summary = _summary(path, source)
    stream = summary.header.stream
    needed = y4m_bytes(stream)
    plan = DecodePlan(
        source=source,
        output=output,
        writer=summary.header.writer,
        stream=stream,
        packets=summary.packets,
        file_bytes=summary.file_bytes,
        output_bytes=needed,
        max_bytes=max_bytes,
    )
    claim = (
        f"{source} says that it holds {stream.frame_count} frames of {stream.width}x"
        f"{stream.height}: decoded {needed} bytes ({size(needed)})"
    )
    if needed > max_bytes:
        raise UserError(
            f"{claim}, more than the {max_bytes} ({size(max_bytes)}) that decode may write. "
            f"Nothing was written; give --max-bytes {needed} if you expect that much"
        )
    free = _free_bytes(output)
    if free is not None and needed > free:
        raise UserError(
            f"{claim}, and only {free} ({size(free)}) are free there. Nothing was written; name "
            "another output file"
        )
    return plan


def limits_for(limits: Limits, stream: StreamInfo) -> Limits:
    """Limits of time and output that grow with a video; those of memory and processes do not.

    Time grows to a day at most, under the default settings: a header alone cannot ask for more.
    """
    samples = stream.width * stream.height * stream.frame_count
    times = min(max(1.0, samples / _LIMITED_SAMPLES), _MOST_TIMES)
    return replace(
        limits,
        wall_seconds=limits.wall_seconds * times,
        cpu_seconds=limits.cpu_seconds * times,
        output_bytes=max(limits.output_bytes, math.ceil(stream.raw_bits / 8)),
    )


def _summary(path: Path, source: str) -> EvcSummary:
    try:
        with open_regular(path) as file:
            return skim(file)
    except ContainerError as error:
        raise ContainerError(f"{source}: {error}") from error
    except OSError as error:
        message = f"cannot read {source}: {error.strerror or error}"
        raise SourceError(message) from error


def _free_bytes(output: str) -> int | None:
    """Return what an output may take; None where that cannot be asked, and writing will tell."""
    folder = str(clip_cache().folder) if output.startswith(S3_SCHEME) else os.path.dirname(output)
    try:
        return shutil.disk_usage(folder or ".").free
    except OSError:
        return None
