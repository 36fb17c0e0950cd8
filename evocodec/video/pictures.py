"""Pictures as a clip: a folder of numbered pictures, or a pattern such as ``seq_%04d.png``.

ffmpeg is not allowed to open files of its own: the pictures are listed here and poured into it, one
after the other.
"""

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

from evocodec.domain.errors import SourceError
from evocodec.input_file import user_path
from evocodec.regular_files import open_regular
from evocodec.video.picture_size import picture_size

DEFAULT_FPS: Final = Fraction(25)
_FORMATS = {
    ".png": "png_pipe",
    ".jpg": "jpeg_pipe",
    ".jpeg": "jpeg_pipe",
    ".bmp": "bmp_pipe",
    ".webp": "webp_pipe",
    ".ppm": "ppm_pipe",
    ".pgm": "pgm_pipe",
    ".tif": "",
    ".tiff": "",
}
"""ffmpeg's format of pictures one behind the other; none for TIFF, whose ends it cannot find."""
_PATTERN = re.compile(r"%(?:0(\d+))?d")
_MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of one size and format in order; ``notices`` say what may be wrong with them."""

    files: tuple[Path, ...]
    notices: tuple[str, ...]

    @property
    def format(self) -> str:
        """ffmpeg's name of the format, or empty where each picture has to be converted first."""
        return _FORMATS[self.files[0].suffix.lower()]

    def part(self, path: str, start: int, count: int | None) -> "Pictures":
        """Return these pictures alone; raises ``SourceError`` where there are none or too few."""
        files = self.files[start : None if count is None else start + count]
        if not files or (count is not None and len(files) < count):
            raise SourceError(
                f"{path}: it has {len(self.files)} pictures, and {count or 'some'} from picture "
                f"{start} on were asked for; ask for fewer, or start earlier"
            )
        return Pictures(files, self.notices)


def find_pictures(path: str) -> Pictures | None:
    """Return the pictures that a path means; None for a path that is a file or nothing.

    Raises ``SourceError`` for a folder without pictures or with several kinds, and for pictures of
    several sizes.
    """
    try:
        place = user_path(path)
        if os.path.isdir(place):  # what cannot be looked up is told by whoever opens it
            files = _in_folder(path, place)
        elif _PATTERN.search(place.name) and not os.path.lexists(place):
            files = _by_pattern(path, place)
        else:
            return None
    except (OSError, RuntimeError, ValueError) as error:
        raise SourceError(f"{path}: cannot be looked up: {error}; check the name") from error
    _require_one_size(path, files)
    return Pictures(tuple(files), _gaps(files))


def _in_folder(path: str, folder: Path) -> list[Path]:
    found = [file for file in folder.iterdir() if file.suffix.lower() in _FORMATS]
    kinds = sorted({_kind(file) for file in found})
    if not found:
        known = ", ".join(suffix[1:] for suffix in _FORMATS)
        raise SourceError(
            f"{path}: is a directory without pictures ({known}); name one video file inside it"
        )
    if len(kinds) > 1:
        raise SourceError(
            f"{path}: holds pictures of several kinds ({', '.join(kinds)}); name one kind by a "
            f"pattern, for example `{folder / 'frame_%04d.png'}`"
        )
    return sorted(found, key=_natural)


def _by_pattern(path: str, place: Path) -> list[Path]:
    if place.suffix.lower() not in _FORMATS:
        known = ", ".join(suffix[1:] for suffix in _FORMATS)
        raise SourceError(f"{path}: a pattern names pictures; these kinds are read: {known}")
    before, digits, after = _PATTERN.split(place.name, maxsplit=1)
    number = rf"\d{{{int(digits)},}}" if digits else r"\d+"
    wanted = re.compile(re.escape(before) + number + re.escape(after))
    if not place.parent.is_dir():
        raise SourceError(f"{path}: there is no folder {place.parent}; check the spelling")
    found = [file for file in place.parent.iterdir() if wanted.fullmatch(file.name)]
    if not found:
        raise SourceError(
            f"{path}: no picture in {place.parent} has such a name; check the pattern (%04d stands "
            "for four digits)"
        )
    return sorted(found, key=_natural)


def _kind(file: Path) -> str:
    suffix = file.suffix.lower()[1:]
    return {"jpeg": "jpg", "tif": "tiff"}.get(suffix, suffix)


def _natural(file: Path) -> tuple[tuple[int, str], ...]:
    parts = re.split(r"(\d+)", file.name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _require_one_size(path: str, files: list[Path]) -> None:
    first: tuple[int, int] | None = None
    for file in files:
        try:
            with open_regular(file) as opened:
                size = picture_size(opened)
        except (OSError, ValueError) as error:
            raise SourceError(
                f"{path}: {file.name} is no picture that can be read: {error}; replace it, or take "
                "it out"
            ) from error
        first = first or size
        if size != first:
            raise SourceError(
                f"{path}: {file.name} is {size[0]}x{size[1]} where {files[0].name} is "
                f"{first[0]}x{first[1]}; a clip has one size: take it out, or scale the pictures"
            )


def _gaps(files: list[Path]) -> tuple[str, ...]:
    """Say where numbers jump: a picture may be missing."""
    numbers = [[int(each) for each in re.findall(r"\d+", file.stem)] for file in files]
    if len(files) < 3 or any(len(each) == 0 for each in numbers):
        return ()
    last = [each[-1] for each in numbers]
    step = min(after - before for before, after in pairwise(last))
    jumps = [(a, b) for a, b in pairwise(last) if b - a != step]
    if step < 1 or not jumps:
        return ()
    shown = ", ".join(f"{a} to {b}" for a, b in jumps[:_MOST_SHOWN])
    more = f" and {len(jumps) - _MOST_SHOWN} more" if len(jumps) > _MOST_SHOWN else ""
    return (f"the pictures' numbers jump from {shown}{more}: pictures may be missing there",)
