"""Clip facts: colour properties that the file declares, and activity (SI and TI of ITU-T P.910)."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from evocodec.codec.adapter import yuv420_to_rgb
from evocodec.domain.errors import UserError
from evocodec.domain.video import Plane
from evocodec.file_kinds import png_with_mark
from evocodec.video.clips import Clip
from evocodec.video.sources import opened

_FULL_RANGE = 255 / 219  # P.910 looks at 0…255; ours is 16…235
_THUMB_WIDTH = 240
_LABEL_HEIGHT = 22
_GREY = 32
_COLUMNS = 3  # first, middle and last frame


@dataclass(frozen=True, slots=True)
class Declared:
    """Colour properties that the file declares; empty where it declares nothing."""

    pixel_format: str
    colour_range: str
    matrix: str


@dataclass(frozen=True, slots=True)
class Activity:
    """Spatial and temporal information: the maxima over time, as ITU-T P.910 defines them."""

    spatial: float
    temporal: float


def declared(clip: Clip) -> Declared:
    """Read the declaration of the file; raises as ``load_clip`` does."""
    with opened(clip.source) as video:
        found = video.declared
    return Declared(found.pixel_format, found.colour_range, found.matrix)


def activity(clip: Clip) -> Activity:
    """SI and TI of ITU-T P.910 (07/2022), on luma scaled to full range.

    SI is the greatest standard deviation, over a frame, of its Sobel magnitude without the edges of
    the picture. TI is the same for the difference of two frames; 0 for a single frame.
    """
    spatial = temporal = 0.0
    before: npt.NDArray[np.float32] | None = None
    for frame in clip.frames:
        luma = frame.y.astype(np.float32) * np.float32(_FULL_RANGE)
        spatial = max(spatial, _sobel_deviation(luma))
        if before is not None:
            temporal = max(temporal, float((luma - before).std(dtype=np.float64)))
        before = luma
    return Activity(spatial, temporal)


def _sobel_deviation(luma: npt.NDArray[np.float32]) -> float:
    if min(luma.shape) < 3:
        return 0.0
    across, down = cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1)
    magnitude = np.asarray(cv2.magnitude(across, down))[1:-1, 1:-1]
    return float(magnitude.std(dtype=np.float64))


def contact_sheet(clips: list[Clip]) -> bytes:
    """Return the first, middle and last frame of every clip in one PNG, one row per clip."""
    rows = [_row(clip) for clip in clips]
    done, data = cv2.imencode(".png", cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    if not done:
        raise UserError("the picture could not be made; name fewer clips")
    return png_with_mark(data.tobytes())


def _row(clip: Clip) -> Plane:
    last = len(clip.frames) - 1
    height = max(1, round(_THUMB_WIDTH * clip.stream.height / clip.stream.width))
    row = np.full((height + _LABEL_HEIGHT, _COLUMNS * _THUMB_WIDTH, 3), _GREY, np.uint8)
    for column, index in enumerate((0, last // 2, last)):
        picture = yuv420_to_rgb(clip.frames[index])
        left = column * _THUMB_WIDTH
        row[:height, left : left + _THUMB_WIDTH] = cv2.resize(
            picture, (_THUMB_WIDTH, height), interpolation=cv2.INTER_AREA
        )
        label = f"{clip.name} {index}" if column == 0 else str(index)
        _write(row, label.encode("ascii", "replace").decode(), left + 4, height + 15)
    return row


def _write(picture: Plane, text: str, x: int, y: int) -> None:
    white = (255, 255, 255)
    cv2.putText(picture, text[:30], (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, white, 1, cv2.LINE_AA)
