"""Frame pictures of a report: both codecs at nearly the same rate, at the worst frames."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from evocodec.anchors.encoders import AnchorEncoder
from evocodec.anchors.process import AnchorDecoding, encode
from evocodec.codec.program import Program
from evocodec.domain.results import FrameSeries
from evocodec.domain.video import Frame
from evocodec.metrics.meter import measure
from evocodec.report.model import Codec, Coded, FrameCrops, View
from evocodec.sandbox.launcher import Launcher
from evocodec.sandbox.policy import Limits
from evocodec.video.clips import Clip

ERROR_GAIN = 8
"""How much the error images exaggerate luma differences."""

# What fits beside three others on a page at one screen pixel a sample, and keeps files small.
WINDOW_WIDTH, WINDOW_HEIGHT = 336, 252
PICTURE_BYTES = 850_000

# How often a reference is coded to come near the subject's bits.
_TRIES = 4

Rendered = tuple[int, tuple[Frame, ...]]
Render = Callable[[Clip, float], Rendered]
"""Code a clip at a qp: bits, and the decoded frames."""

_Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Renderer:
    """A codec that can code clips once more, to show what it does.

    ``rates`` are the lowest and highest qp and its step, if the rate can be chosen.
    """

    codec: Codec
    render: Render
    rates: tuple[float, float, float] | None = None


def program_renderer(
    codec: Codec, program: Program, launcher: Launcher, limits: Limits
) -> Renderer:
    """A program, in the sandbox."""

    def render(clip: Clip, qp: float) -> Rendered:
        encoded = launcher.encode(program.text, clip.frames, clip.stream, qp, limits)
        decoded = launcher.decode(program.text, encoded.packets, clip.stream, limits)
        return 8 * sum(map(len, encoded.packets)), tuple(decoded.frames)

    return Renderer(codec, render)


def anchor_renderer(codec: Codec, encoder: AnchorEncoder) -> Renderer:
    """A real encoder."""

    def render(clip: Clip, qp: float) -> Rendered:
        with tempfile.TemporaryDirectory(prefix="evocodec-view-") as folder:
            stream = Path(folder) / f"stream.{encoder.muxer}"
            encode(clip.frames, clip.stream, encoder, qp, stream)
            frames = tuple(AnchorDecoding(stream, clip.stream).frames())
            return 8 * stream.stat().st_size, frames

    return Renderer(codec, render, (*encoder.rate_limits, encoder.rate_step))


def view_clip(
    clip: Clip, reference: Renderer, subject: Renderer, operating_psnr_y_db: float, *, vmaf: bool
) -> View:
    """Code a clip with both codecs and crop the most different regions.

    The subject is shown at its measured point nearest to the operating quality, the reference at
    the rate whose bits are nearest to that: at any rate where it can, else at a measured point.
    """
    ours = subject.codec.curves[clip.name]
    point = min(ours.points, key=lambda p: abs(p.quality.psnr_y_db - operating_psnr_y_db))
    shown = (
        _at_bits(clip, reference, point.bits),
        (point.qp, *subject.render(clip, point.qp)),
    )
    coded: list[Coded] = []
    for renderer, (qp, bits, decoded) in zip((reference, subject), shown, strict=True):
        quality, series = measure(clip.frames, decoded, vmaf=vmaf)
        coded.append(Coded(renderer.codec.name, qp, bits, quality, series))
    frames = [decoded for _, _, decoded in shown]
    pictures = tuple(
        _picture(index, why, clip.frames[index], frames[0][index], frames[1][index])
        for index, why in worth_seeing(coded[0].series, coded[1].series)
    )
    return View(clip.name, coded[0], coded[1], pictures)


def within_budget(views: Sequence[View], budget_bytes: int = PICTURE_BYTES) -> tuple[View, ...]:
    """Keep the first picture of every clip, and further ones while they are small together."""
    spent = sum(picture.size_bytes for view in views for picture in view.pictures[:1])
    kept = []
    for view in views:
        pictures = list(view.pictures[:1])
        for picture in view.pictures[1:]:
            if spent + picture.size_bytes <= budget_bytes:
                spent += picture.size_bytes
                pictures.append(picture)
        kept.append(replace(view, pictures=tuple(pictures)))
    return tuple(kept)


def worth_seeing(reference: FrameSeries, subject: FrameSeries) -> list[tuple[int, str]]:
    """The subject's worst frame, and the one where it falls furthest behind the reference."""
    ours, theirs = subject.psnr_y_db, reference.psnr_y_db
    worst = min(range(len(ours)), key=ours.__getitem__)
    behind = min(range(len(ours)), key=lambda index: ours[index] - theirs[index])
    if worst == behind:
        return [(worst, "its worst frame, and the one furthest behind")]
    return [(worst, "its worst frame"), (behind, "the frame furthest behind")]


def _at_bits(clip: Clip, renderer: Renderer, bits: int) -> tuple[float, int, tuple[Frame, ...]]:
    """Code a clip so that it takes about so many bits: qp, bits and frames."""
    curve = renderer.codec.curves[clip.name]
    known = {math.log(point.bits): point.qp for point in curve.points}
    wanted = math.log(bits)
    if renderer.rates is None:
        qp = known[min(known, key=lambda log_bits: abs(log_bits - wanted))]
        return (qp, *renderer.render(clip, qp))
    low, high, step = renderer.rates
    tried: dict[float, Rendered] = {}
    for _ in range(_TRIES):
        qp = round(min(max(_line_through(known, wanted), low), high) / step) * step
        if qp in tried:
            break
        tried[qp] = renderer.render(clip, qp)
        known[math.log(tried[qp][0])] = qp
    best = min(tried, key=lambda qp: abs(math.log(tried[qp][0]) - wanted))
    return (best, *tried[best])


def _line_through(known: Mapping[float, float], wanted: float) -> float:
    """The qp at a log of bits, on the line through its two nearest neighbours."""
    (x0, y0), (x1, y1) = sorted(known.items(), key=lambda pair: abs(pair[0] - wanted))[:2]
    return y0 + (wanted - x0) * (y1 - y0) / (x1 - x0)


def _picture(index: int, why: str, source: Frame, reference: Frame, subject: Frame) -> FrameCrops:
    error = cv2.absdiff(source.y, subject.y)
    x, y, width, height = window = worst_window(error)
    cut = [_cropped(frame, window) for frame in (source, reference, subject)]
    loud = np.minimum(error[y : y + height, x : x + width].astype(np.uint16) * ERROR_GAIN, 255)
    return FrameCrops(
        frame=index,
        why=why,
        window=window,
        source=_png(rgb_of(cut[0])),
        reference=_png(rgb_of(cut[1])),
        subject=_png(rgb_of(cut[2])),
        error=_png(loud.astype(np.uint8)),
    )


def worst_window(error: _Image) -> tuple[int, int, int, int]:
    """The part of a picture with the greatest squared error, as (x, y, width, height).

    The whole picture where it is small enough. Positions are even, as 4:2:0 chroma needs.
    """
    height, width = error.shape
    wide, high = min(width, WINDOW_WIDTH), min(height, WINDOW_HEIGHT)
    squares = error.astype(np.float64) ** 2
    sums = cv2.integral(squares)
    xs, ys = np.arange(0, width - wide + 1, 2), np.arange(0, height - high + 1, 2)
    totals = (
        sums[np.ix_(ys + high, xs + wide)]
        - sums[np.ix_(ys, xs + wide)]
        - sums[np.ix_(ys + high, xs)]
        + sums[np.ix_(ys, xs)]
    )
    row, column = np.unravel_index(int(np.argmax(totals)), totals.shape)
    return int(xs[column]), int(ys[row]), wide, high


def _cropped(frame: Frame, window: tuple[int, int, int, int]) -> Frame:
    x, y, width, height = window
    rows, columns = slice(y, y + height), slice(x, x + width)
    small_rows = slice(y // 2, (y + height + 1) // 2)
    small_columns = slice(x // 2, (x + width + 1) // 2)
    return Frame(
        frame.y[rows, columns],
        frame.u[small_rows, small_columns],
        frame.v[small_rows, small_columns],
    )


def rgb_of(frame: Frame) -> _Image:
    """BT.709 limited range to full-range RGB, chroma interpolated."""
    height, width = frame.y.shape
    luma = (frame.y.astype(np.float32) - 16) * np.float32(255 / 219)
    blue, red = (
        (
            cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
            - 128
        )
        * np.float32(255 / 224)
        for plane in (frame.u, frame.v)
    )
    channels: Sequence[npt.NDArray[np.float32]] = (
        luma + np.float32(1.5748) * red,
        luma - np.float32(0.1873) * blue - np.float32(0.4681) * red,
        luma + np.float32(1.8556) * blue,
    )
    stacked = np.stack([np.clip(np.rint(channel), 0, 255) for channel in channels], axis=-1)
    return stacked.astype(np.uint8)


def _png(image: _Image) -> bytes:
    shown = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", shown, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done  # noqa: S101 - PNG takes every 8-bit image
    return bytes(data)
