"""Clip syntax: ``PATH[@START-END][:WxH+X+Y][:WxH][,fps=FPS | ,raw=WxH,FPS[,FORMAT[,RANGE]]]``."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from evocodec.domain.errors import SourceError
from evocodec.video.raw_video import RawFormat, parse_rate, parse_raw

GRAMMAR = "PATH[@START-END][:WxH], END exclusive, for example clip.mkv@0-32:320x180"
_CROP_GRAMMAR = "WxH+X+Y, for example clip.mkv:640x360+32+16"


@dataclass(frozen=True, slots=True)
class ClipSource:
    """Location of a clip, and the part of the video that is meant.

    ``path`` is a file or ``s3://bucket/key``. ``frames`` None means all frames from ``start_frame``
    on. ``crop`` is (x, y, width, height) in luma samples of the decoded picture, x and y even.
    ``scale`` is (width, height) after cropping, by area averaging. ``raw`` describes the samples of
    a file without a header. ``fps`` is the rate in frames/s if the file states none or a wrong one.
    ``sha256`` is the expected digest of all samples of the clip, where it is known.
    """

    name: str
    path: str
    frames: int | None = None
    start_frame: int = 0
    crop: tuple[int, int, int, int] | None = None
    scale: tuple[int, int] | None = None
    origin: str = ""
    licence: str = ""
    raw: RawFormat | None = None
    sha256: str = ""
    fps: Fraction | None = None


def parse_clip(text: str) -> ClipSource:
    """Parse a clip from the command line by the syntax above; any other text belongs to the path.

    ``START`` counts from 0, ``END`` is exclusive and may be left out (``@100-``); ``WxH+X+Y`` cuts
    out a part of the picture, and ``WxH`` scales. Raises ``SourceError``.
    """
    path, raw, fps = text.strip(), None, None
    if match := re.fullmatch(r"(.*),fps=([^,]*)", path):
        path, fps = match[1], parse_rate(match[2], text)
    if match := re.fullmatch(r"(.*),raw=(.*)", path):
        path, raw = match[1], parse_raw(match[2], text)
    path, scale = _take_scale(path, text)
    path, crop = _take_crop(path, text)
    path, start, frames, part = _take_range(path, text)
    if not path:
        raise SourceError(f"no path given; write {GRAMMAR}")
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).stem).strip("-.") or "clip"
    cut = "" if crop is None else f"_{crop[2]}x{crop[3]}-{crop[0]}-{crop[1]}"
    return ClipSource(
        name=stem + part + cut + (f"_{scale[0]}x{scale[1]}" if scale else ""),
        path=path,
        frames=frames,
        start_frame=start,
        crop=crop,
        scale=scale,
        origin=path,
        licence="as its owner says",
        raw=raw,
        fps=fps,
    )


def format_clip(source: ClipSource) -> str:
    """Format a source as ``parse_clip`` reads it, without name, origin and licence."""
    text = source.path
    if source.start_frame or source.frames is not None:
        end = "" if source.frames is None else source.start_frame + source.frames
        text += f"@{source.start_frame}-{end}"
    if source.crop is not None:
        x, y, width, height = source.crop
        text += f":{width}x{height}+{x}+{y}"
    if source.scale is not None:
        text += f":{source.scale[0]}x{source.scale[1]}"
    text += f",raw={source.raw}" if source.raw is not None else ""
    return text + (f",fps={source.fps}" if source.fps is not None else "")


def _take_scale(path: str, text: str) -> tuple[str, tuple[int, int] | None]:
    if match := re.fullmatch(r"(.+):(\d+)[xX](\d+)", path):
        return match[1], (int(match[2]), int(match[3]))
    if re.search(r":[\dxX]*$", path):
        raise SourceError(f"{text}: the size after ':' is not WxH; write {GRAMMAR}")
    return path, None


def _take_crop(path: str, text: str) -> tuple[str, tuple[int, int, int, int] | None]:
    if match := re.fullmatch(r"(.+):(\d+)[xX](\d+)\+(\d+)\+(\d+)", path):
        width, height, x, y = (int(match[index]) for index in range(2, 6))
        return match[1], (x, y, width, height)
    if re.search(r":[\dxX]+\+[\dxX+]*$", path):
        raise SourceError(f"{text}: the crop after ':' is not complete; write {_CROP_GRAMMAR}")
    return path, None


def _take_range(path: str, text: str) -> tuple[str, int, int | None, str]:
    if match := re.fullmatch(r"(.+)@(\d+)-(\d*)", path):
        start = int(match[2])
        frames = int(match[3]) - start if match[3] else None
        if frames is not None and frames < 1:
            raise SourceError(f"{text}: the range ends before it starts; write {GRAMMAR}")
        return match[1], start, frames, f"_{match[2]}-{match[3]}"
    if re.search(r"@[\d:,-]*$", path):
        raise SourceError(f"{text}: the range after '@' is not START-END; write {GRAMMAR}")
    return path, 0, None, ""
