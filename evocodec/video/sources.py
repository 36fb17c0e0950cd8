"""Video sources: makes a local file, raw video or ``s3://`` object readable for ffmpeg."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from evocodec.domain.errors import SourceError
from evocodec.input_file import input_file
from evocodec.regular_files import open_regular
from evocodec.video.clip_spec import ClipSource
from evocodec.video.data_options import S3_SCHEME
from evocodec.video.declared import Probe, notices
from evocodec.video.ffmpeg import Feed, ffmpeg_version, probe
from evocodec.video.pictures import DEFAULT_FPS, Pictures, find_pictures
from evocodec.video.raw_video import (
    RAW_GRAMMAR,
    Y4M_HEADER_BYTES,
    FixedLayout,
    check_y4m_rate,
    raw_layout,
    y4m_layout,
)
from evocodec.video.s3_source import RemoteObject
from evocodec.video.wholeness import ENDLESS, why_not_whole, y4m_end

_RAW_SUFFIXES = (".yuv", ".raw", ".i420", ".nv12")


@dataclass(frozen=True, slots=True)
class LocalVideo:
    """A source that this machine can read while ``opened`` is active.

    ``start_frame`` counts from the first frame of the input; with a ``feed``, that is the first
    frame asked for. ``identity`` changes whenever the samples may have changed.
    """

    path: str
    start_frame: int
    declared: Probe
    identity: str
    feed: Feed | None = None
    truncated: str = ""
    notices: tuple[str, ...] = ()

    @property
    def is_stated(self) -> bool:
        """Whether colours are stated beside the samples, which ffmpeg then has to be told."""
        return self.feed is not None and not self.feed.pictures


@contextmanager
def opened(source: ClipSource) -> Iterator[LocalVideo]:
    """Make a source readable: fetches the needed part of a remote source first.

    Raises ``SourceError`` for what a person can change, ``InfrastructureFailure`` for the network.
    """
    _check_range(source)
    if source.path.startswith(S3_SCHEME):
        with RemoteObject.open(source.path) as remote:
            yield _remote(source, remote)
        return
    pictures = find_pictures(source.path)
    if pictures is not None:
        yield _pictures(source, pictures)
        return
    file = input_file(source.path)
    status = file.stat()
    identity = _identity(source, str(file.resolve()), status.st_size, status.st_mtime_ns)
    if source.raw is None:
        _require_header(source.path)
        yield _as_it_is(source, file, source.path, identity)
        return
    layout = raw_layout(source.path, source.raw, status.st_size)
    yield _fixed(source, file, layout, status.st_size, identity)


@contextmanager
def fetched(text: str) -> Iterator[Path]:
    """Return a path to a file; a file in S3 is fetched as a whole. Raises as ``opened`` does."""
    if not text.startswith(S3_SCHEME):
        yield input_file(text)
        return
    with RemoteObject.open(text) as remote:
        remote.ensure(0, remote.size)
        yield remote.path


def check_source(source: ClipSource) -> None:
    """Check that a source exists, before slow work begins; raises as ``opened`` does."""
    _check_range(source)
    if source.path.startswith(S3_SCHEME):
        with RemoteObject.open(source.path) as remote:
            size = remote.size
    elif (pictures := find_pictures(source.path)) is not None:
        pictures.part(source.path, source.start_frame, source.frames)
        return
    else:
        size = input_file(source.path).stat().st_size
    if source.raw is not None:
        raw_layout(source.path, source.raw, size)
    else:
        _require_header(source.path)


def _remote(source: ClipSource, remote: RemoteObject) -> LocalVideo:
    identity = _identity(source, remote.identity)
    layout = None
    if source.raw is not None:
        layout = raw_layout(source.path, source.raw, remote.size)
    elif source.path.lower().endswith(".y4m"):
        remote.ensure(0, Y4M_HEADER_BYTES)
        layout = y4m_layout(remote.read(0, Y4M_HEADER_BYTES), remote.size)
    else:
        _require_header(source.path)
    if layout is None:
        # Where frames lie in a container is known only inside it, often at its end.
        remote.ensure(0, remote.size)
        return _as_it_is(source, remote.path, str(remote.path), identity)
    remote.ensure(*layout.range_of(source.start_frame, source.frames, remote.size))
    return _fixed(source, remote.path, layout, remote.size, identity)


def _as_it_is(source: ClipSource, file: Path, path: str, identity: str) -> LocalVideo:
    """A file that ffmpeg reads by itself."""
    with open_regular(file) as opened_file:
        head = opened_file.read(Y4M_HEADER_BYTES)
        assumed = check_y4m_rate(head, source.path)
        truncated = why_not_whole(opened_file)
        end = y4m_end(opened_file) if head.startswith(b"YUV4MPEG2") else None
    declared = probe(path)
    said = notices(declared)
    if declared.container.split(",")[0] in ENDLESS:
        said += (
            "a file of this kind does not record where it ends: whether it is whole cannot be "
            "checked",
        )
    return LocalVideo(
        path,
        source.start_frame,
        declared,
        identity,
        truncated=truncated,
        notices=(*((assumed,) if assumed else ()), *said),
        # ffmpeg takes white space behind the last frame for a broken one.
        feed=None if end is None else Feed(file, ((0, end),), ("-f", "yuv4mpegpipe"), declared),
    )


def _pictures(source: ClipSource, pictures: Pictures) -> LocalVideo:
    if source.raw is not None:
        raise SourceError(f"{source.path}: pictures have headers; leave out `,raw=`")
    part = pictures.part(source.path, source.start_frame, source.frames)
    status = [(str(file.resolve()), file.stat()) for file in part.files]
    facts = [(name, found.st_size, found.st_mtime_ns) for name, found in status]
    declared = probe(str(part.files[0]))
    rate = source.fps or DEFAULT_FPS
    options = ("-f", part.format or "png_pipe", "-framerate", str(rate))
    said = part.notices + notices(declared)
    if source.fps is None:
        said += (
            f"pictures state no frame rate; {rate} frames/s are assumed: write "
            f"`{source.path},fps=30` for another",
        )
    feed = Feed(part.files[0], (), options, declared, part.files, convert=not part.format)
    return LocalVideo(source.path, 0, declared, _identity(source, facts), feed, notices=said)


def _fixed(
    source: ClipSource, file: Path, layout: FixedLayout, size: int, identity: str
) -> LocalVideo:
    start, end = layout.range_of(source.start_frame, source.frames, size)
    if start >= end:
        there = (size - layout.header_bytes) // layout.stride
        raise SourceError(
            f"{source.path}: it has {there} frames, none from frame {source.start_frame} on; "
            "start earlier"
        )
    form = layout.format
    segments: tuple[tuple[int, int], ...] = ((start, end - start),)
    options: tuple[str, ...] = ("-f", "yuv4mpegpipe")
    if layout.header_bytes:
        segments = ((0, layout.header_bytes), *segments)
    else:
        options = (
            *("-f", "rawvideo", "-pixel_format", form.pixel_format),
            *("-video_size", f"{form.width}x{form.height}", "-framerate", str(form.fps)),
        )
    declared = Probe(form.width, form.height, form.pixel_format, form.colour_range, "")
    return LocalVideo(source.path, 0, declared, identity, Feed(file, segments, options, declared))


def _check_range(source: ClipSource) -> None:
    if source.start_frame < 0 or (source.frames is not None and source.frames < 1):
        raise SourceError(
            f"{source.path}: start frame {source.start_frame} and {source.frames} frames make no "
            "range; start at 0 or later and ask for at least one frame"
        )


def _require_header(path: str) -> None:
    if path.lower().endswith(_RAW_SUFFIXES):
        raise SourceError(
            f"{path}: raw video does not say what its size and format are; write {RAW_GRAMMAR}"
        )
    if path.lower().endswith(".evc"):
        raise SourceError(
            f"{path}: is an .evc file, not a video; run `evocodec decode` on it and name the result"
        )


def _identity(source: ClipSource, *facts: object) -> str:
    part = (
        source.start_frame,
        source.frames,
        source.crop,
        source.scale,
        str(source.raw),
        str(source.fps),
    )
    text = json.dumps(["2", ffmpeg_version(), *facts, *part])
    return hashlib.sha256(text.encode()).hexdigest()
