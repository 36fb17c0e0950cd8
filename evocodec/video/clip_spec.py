"""Clip syntax: ``PATH[@START-END][:WxH+X+Y][:WxH][,fps=FPS | ,raw=WxH,FPS[,FORMAT[,RANGE]]]``.

A file that exists wins: ``meeting@12:30`` is a file of that name where there is one. ``@0-`` after
a name, which means all of its frames, ends the name everywhere.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Final

from evocodec.domain.errors import SourceError
from evocodec.input_file import is_here
from evocodec.video.raw_video import RawFormat, parse_rate, parse_raw

GRAMMAR = "PATH[@START-END][:WxH], END exclusive, for example clip.mkv@0-32:320x180"
NAME_CHARACTERS: Final = 64
"""How long the name of a clip may be."""

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
    """Parse a clip as a person types it, by the syntax above; any other text belongs to the path.

    ``START`` counts from 0, ``END`` is exclusive and may be left out (``@100-``); ``WxH+X+Y`` cuts
    out a part of the picture, and ``WxH`` scales. Raises ``SourceError``.
    """
    return _of_a_file_here(text) or _of_a_file_here(text.strip()) or _parsed(text.strip())


def parse_stored_clip(text: str) -> ClipSource:
    """Parse what ``format_clip`` wrote, whatever files there are; raises ``SourceError``."""
    return _parsed(text)


def _of_a_file_here(text: str) -> ClipSource | None:
    """Parse a text that begins with the name of something that exists, the longest such name."""
    ends = [place for place, sign in enumerate(text) if sign in "@:,"]
    for end in (len(text), *reversed(ends)):
        if end and is_here(text[:end]):
            with suppress(SourceError):
                found = _parsed(f"x{text[end:]}")
                if found.path == "x":
                    name = _name(text[:end], found.name[1:])
                    return replace(found, name=name, path=text[:end], origin=text[:end])
    return None


def _parsed(text: str) -> ClipSource:
    path, raw, fps = text, None, None
    if match := re.fullmatch(r"(.*),fps=([^,]*)", path, re.DOTALL):
        path, fps = match[1], parse_rate(match[2], text)
    if match := re.fullmatch(r"(.*),raw=(.*)", path, re.DOTALL):
        path, raw = match[1], parse_raw(match[2], text)
    path, scale = _take_scale(path, text)
    path, crop = _take_crop(path, text)
    path, start, frames, part = _take_range(path, text)
    if not path:
        raise SourceError(f"no path given; write {GRAMMAR}")
    cut = "" if crop is None else f"_{crop[2]}x{crop[3]}-{crop[0]}-{crop[1]}"
    return ClipSource(
        name=_name(path, part + cut + (f"_{scale[0]}x{scale[1]}" if scale else "")),
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


def _name(path: str, end: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).stem).strip("-.") or "clip"
    return stem[: max(NAME_CHARACTERS - len(end), 8)] + end


def format_clip(source: ClipSource) -> str:
    """Format a source as ``parse_stored_clip`` reads it, without name, origin and licence.

    Raises ``SourceError`` for a path that would be read as something else.
    """
    for text in (_formatted(source, ""), _formatted(source, "@0-")):
        with suppress(SourceError):
            found = parse_stored_clip(text)
            if replace(found, name=source.name, origin="", licence="", sha256="") == replace(
                source, origin="", licence="", sha256=""
            ):
                return text
    raise SourceError(
        f"{source.path}: the name cannot be told from the frames, the size or the format that may "
        "follow one; rename the file, or name a link to it"
    )


def _formatted(source: ClipSource, everything: str) -> str:
    """Format a source; ``everything`` says that all frames are meant."""
    text = source.path
    if source.start_frame or source.frames is not None:
        end = "" if source.frames is None else source.start_frame + source.frames
        text += f"@{source.start_frame}-{end}"
    else:
        text += everything
    if source.crop is not None:
        x, y, width, height = source.crop
        text += f":{width}x{height}+{x}+{y}"
    if source.scale is not None:
        text += f":{source.scale[0]}x{source.scale[1]}"
    text += f",raw={source.raw}" if source.raw is not None else ""
    return text + (f",fps={source.fps}" if source.fps is not None else "")


def _take_scale(path: str, text: str) -> tuple[str, tuple[int, int] | None]:
    if match := re.fullmatch(r"(.+):(\d+)[xX](\d+)", path, re.DOTALL):
        return match[1], (int(match[2]), int(match[3]))
    if re.search(r":[\dxX]*$", path):
        raise SourceError(f"{text}: the size after ':' is not WxH; write {GRAMMAR}")
    return path, None


def _take_crop(path: str, text: str) -> tuple[str, tuple[int, int, int, int] | None]:
    if match := re.fullmatch(r"(.+):(\d+)[xX](\d+)\+(\d+)\+(\d+)", path, re.DOTALL):
        width, height, x, y = (int(match[index]) for index in range(2, 6))
        return match[1], (x, y, width, height)
    if re.search(r":[\dxX]+\+[\dxX+]*$", path):
        raise SourceError(f"{text}: the crop after ':' is not complete; write {_CROP_GRAMMAR}")
    return path, None


def _take_range(path: str, text: str) -> tuple[str, int, int | None, str]:
    if match := re.fullmatch(r"(.+)@(\d+)-(\d*)", path, re.DOTALL):
        start = int(match[2])
        frames = int(match[3]) - start if match[3] else None
        if frames is not None and frames < 1:
            raise SourceError(f"{text}: the range ends before it starts; write {GRAMMAR}")
        everything = start == 0 and frames is None
        return match[1], start, frames, "" if everything else f"_{match[2]}-{match[3]}"
    if re.search(r"@[\d:,-]*$", path):
        raise SourceError(f"{text}: the range after '@' is not START-END; write {GRAMMAR}")
    return path, 0, None, ""
