"""Derived clips of the held-out gate: cut, mirrored or re-filmed from real frames by a secret seed.

A derived clip depends only on the pool, the seed and an index. So a run that was killed draws the
same clips again, and an audit that has the seed can make them too.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from evocodec.domain.video import Frame, Plane, StreamInfo
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip, make_clip

if TYPE_CHECKING:
    from numpy.random import Generator  # slow to import, and only a draw needs it

_Image = npt.NDArray[np.float32]
_T = TypeVar("_T")

# About the size of the built-in clips: a gate must not cost more than the evaluation before it.
MAX_SAMPLES = 240 * 136
_MIN_SIDE = 32
_CAMERA_SHARE = 1 / 3  # of the clips; real motion is worth more than a moving still
_ODD_SHARE = 0.5
_SMALLEST_SHARE, _LARGEST_SHARE = 0.6, 0.95  # of a source's width and height
_MAX_STEP = 2


@dataclass(frozen=True, slots=True)
class Camera:
    """Path of a window over a still picture: start of its centre, and change per frame.

    Positions and speeds in luma samples, angles in radians; ``scale`` is source samples per sample.
    """

    centre: tuple[float, float]
    speed: tuple[float, float]
    shake: float
    scale: float
    zoom: float
    angle: float
    turn: float
    noise: float


def derive_clip(
    pool: Sequence[Clip], seed: bytes, index: int, *, frames: int, attempt: int = 0, name: str = ""
) -> Clip:
    """Derive one clip of ``frames`` frames; ``attempt`` counts redraws of the same index.

    It is either a window of real frames, played at normal or double speed, forwards or backwards;
    or a camera moved over a still picture. It is cropped, mirrored, turned upside down or both, and
    has an odd size half of the time. Clips of the pool that are too short serve as stills. Raises
    ``ValueError`` for an empty pool.
    """
    if not pool:
        raise ValueError("there is nothing to derive a clip from")
    digest = hashlib.sha256(b"%d/%d/" % (index, attempt) + seed).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest)))
    long_enough = [clip for clip in pool if len(clip.frames) >= frames]
    filmed = not long_enough or rng.random() < _CAMERA_SHARE
    source = _choice(rng, pool if filmed else long_enough)
    width, height = _size(rng, source.stream)
    trimmed = (width - int(rng.random() < _ODD_SHARE), height - int(rng.random() < _ODD_SHARE))
    if filmed:
        still = source.frames[int(rng.integers(len(source.frames)))]
        camera = _camera(rng, source.stream, width, height, frames)
        made = film(still, camera, (width, height), frames, rng)
    else:
        made = _window(rng, source, frames, width, height)
    # Never as filmed: what a program remembers of the scene fits no held-out clip as it is.
    mirrored, upside_down = _choice(rng, ((True, False), (False, True), (True, True)))
    made = tuple(_trim(_flip(frame, mirrored, upside_down), *trimmed) for frame in made)
    stream = StreamInfo(*trimmed, source.stream.fps, frames)
    return make_clip(ClipSource(name or f"derived-{index}", ""), stream, made)


def film(
    still: Frame, camera: Camera, size: tuple[int, int], frames: int, rng: "Generator"
) -> tuple[Frame, ...]:
    """Move a camera over a still picture, with sub-sample positions and sensor noise.

    Chroma moves with luma at half the resolution, sited left as in H.264 and HEVC: its sample (i,
    j) lies at luma (2i, 2j + ½).
    """
    width, height = size
    largest = camera.scale * math.exp(abs(camera.zoom) * frames)
    luma = _prefilter(still.y, largest)
    chroma = [_prefilter(plane, largest) for plane in (still.u, still.v)]
    made = []
    for time in range(frames):
        matrix = _path(camera, time, width, height, rng)
        y = _warp(luma, matrix, width, height)
        half = _chroma_matrix(matrix)
        planes = [_warp(plane, half, width // 2, height // 2) for plane in chroma]
        made.append(
            Frame(
                _expose(y, camera.noise, rng),
                *(_expose(plane, camera.noise / 2, rng) for plane in planes),
            )
        )
    return tuple(made)


def _window(
    rng: "Generator", source: Clip, frames: int, width: int, height: int
) -> tuple[Frame, ...]:
    steps = [step for step in range(1, _MAX_STEP + 1) if (frames - 1) * step < len(source.frames)]
    step = _choice(rng, steps)
    start = int(rng.integers(len(source.frames) - (frames - 1) * step))
    taken = [source.frames[start + step * index] for index in range(frames)]
    if rng.random() < 0.5:
        taken.reverse()
    x = 2 * int(rng.integers((source.stream.width - width) // 2 + 1))
    y = 2 * int(rng.integers((source.stream.height - height) // 2 + 1))
    return tuple(_cut(frame, x, y, width, height) for frame in taken)


def _size(rng: "Generator", stream: StreamInfo) -> tuple[int, int]:
    """Draw even sides, so that mirroring keeps chroma under its luma; odd sizes are cut later."""
    sides = []
    for side in (stream.width, stream.height):
        share = rng.uniform(_SMALLEST_SHARE, _LARGEST_SHARE)
        sides.append(max(min(side, _MIN_SIDE), side * share))
    shrink = min(1.0, math.sqrt(MAX_SAMPLES / (sides[0] * sides[1])))
    width, height = (max(2, 2 * int(side * shrink / 2)) for side in sides)
    return width, height


def _camera(rng: "Generator", stream: StreamInfo, width: int, height: int, frames: int) -> Camera:
    """Draw a slow hand-held pan that stays within the still picture."""
    scale = rng.uniform(0.8, 1.1)
    scale = min(scale, 0.95 * stream.width / width, 0.95 * stream.height / height)
    room = [
        max(0.0, (side - scale * window) / 2)
        for side, window in ((stream.width, width), (stream.height, height))
    ]
    fastest = [min(3.0, 2 * each / max(1, frames - 1)) for each in room]
    speed = [rng.uniform(-each, each) for each in fastest]
    # The path is centred, so that it stays inside as long as its length fits.
    start = [
        side / 2 - each * (frames - 1) / 2
        for side, each in ((stream.width, speed[0]), (stream.height, speed[1]))
    ]
    return Camera(
        centre=(start[0], start[1]),
        speed=(speed[0], speed[1]),
        shake=rng.uniform(0.0, 0.3),
        scale=scale,
        zoom=rng.uniform(-0.006, 0.006),
        angle=rng.uniform(-0.03, 0.03),
        turn=rng.uniform(-0.004, 0.004),
        noise=rng.uniform(0.3, 1.2),
    )


def _path(
    camera: Camera, time: int, width: int, height: int, rng: "Generator"
) -> npt.NDArray[np.float64]:
    """Return the affine map from samples of the window to those of the still, at one time."""
    scale = camera.scale * math.exp(camera.zoom * time)
    angle = camera.angle + camera.turn * time
    turn = scale * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    shaken = camera.shake * rng.standard_normal(2)
    centre = np.array(camera.centre) + np.array(camera.speed) * time + shaken
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.hstack([turn, (centre - 0.5 - turn @ middle)[:, np.newaxis]])


def _chroma_matrix(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    turn, shift = matrix[:, :2], matrix[:, 2]
    site = np.array([0.0, 0.5])
    return np.hstack([turn, ((turn @ site + shift - site) / 2)[:, np.newaxis]])


def _prefilter(plane: Plane, scale: float) -> _Image:
    """Low-pass filter against aliasing on a coarser grid."""
    import cv2

    image = plane.astype(np.float32)
    if scale <= 1.0:
        return image
    sigma = 0.5 * math.sqrt(scale * scale - 1.0)
    blurred: _Image = cv2.GaussianBlur(image, (0, 0), max(sigma, 0.1))
    return blurred


def _warp(image: _Image, matrix: npt.NDArray[np.float64], width: int, height: int) -> _Image:
    import cv2

    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    warped: _Image = cv2.warpAffine(
        image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    return warped


def _expose(image: _Image, noise: float, rng: "Generator") -> Plane:
    """Add noise that is correlated over neighbouring samples, as after demosaicing, and round."""
    import cv2

    grain = cv2.GaussianBlur(rng.standard_normal(image.shape).astype(np.float32), (3, 3), 0.6)
    deviation = float(grain.std()) or 1.0
    exposed = np.rint(image + grain * np.float32(noise / deviation))
    plane: Plane = np.clip(exposed, 0, 255).astype(np.uint8)
    return plane


def _cut(frame: Frame, x: int, y: int, width: int, height: int) -> Frame:
    """Cut an even window at an even position."""
    chroma = (slice(y // 2, (y + height) // 2), slice(x // 2, (x + width) // 2))
    return Frame(frame.y[y : y + height, x : x + width], frame.u[chroma], frame.v[chroma])


def _flip(frame: Frame, mirrored: bool, upside_down: bool) -> Frame:
    rows, columns = (-1 if upside_down else 1), (-1 if mirrored else 1)
    return Frame(*(plane[::rows, ::columns] for plane in frame))


def _trim(frame: Frame, width: int, height: int) -> Frame:
    """Drop a last odd row or column of luma; chroma keeps the sample that covers the rest."""
    y, u, v = (np.ascontiguousarray(plane) for plane in frame)
    return Frame(np.ascontiguousarray(y[:height, :width]), u, v)


def _choice(rng: "Generator", items: Sequence[_T]) -> _T:
    return items[int(rng.integers(len(items)))]
