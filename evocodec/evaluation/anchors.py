"""Anchors: what a real encoder needs for the same frames, as a raw elementary stream.

The stream's size is the bit count, with no container around it. Encoding is reproducible to the
byte: threads are pinned, and the settings, the clip's samples and the ffmpeg version name a
cached curve.
"""

import hashlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from evocodec.domain.errors import CandidateFailure, InfrastructureFailure, SourceError
from evocodec.domain.results import Cost, RatePoint, RdCurve
from evocodec.domain.video import Frame, Plane, StreamInfo
from evocodec.evaluation.anchor_cache import read_curve, write_curve
from evocodec.evaluation.clips import Clip, iter_frames
from evocodec.evaluation.curves import check_monotonic, make_curve, quality_at_bits
from evocodec.evaluation.ffmpeg import ffmpeg_exe, ffmpeg_version
from evocodec.evaluation.metrics import measure_quality
from evocodec.evaluation.y4m import pack_frame

OPERATING_BITS_PER_SAMPLE = 10e6 / (1920 * 1080 * 30)
"""Bits a luma sample and frame that 10 Mbit/s mean at 1080p30: 0.1608."""

CRF_LADDER = (16.0, 20.0, 24.0, 28.0, 32.0, 36.0)
CRF_STEP = 4.0
POINTS_EACH_SIDE = 3
_MIN_POINTS_EACH_SIDE = 2
_CACHE_FORMAT = "1"  # raise it when the protocol changes


@dataclass(frozen=True, slots=True)
class AnchorEncoder:
    """One encoder with everything that decides its bytes, but for the rate.

    ``arguments`` are ffmpeg's; ``muxer`` is a raw format; ``rate_limits`` bound ``-crf``.
    """

    name: str
    arguments: tuple[str, ...]
    muxer: str
    rate_limits: tuple[float, float]


X265_MEDIUM = AnchorEncoder(
    name="x265-medium",
    arguments=(
        *("-c:v", "libx265", "-preset", "medium", "-tune", "psnr", "-x265-params"),
        "log-level=error:info=0:keyint=-1:min-keyint=1:scenecut=0:frame-threads=1:pools=2",
    ),
    muxer="hevc",
    rate_limits=(0.0, 51.0),
)


def operating_bits(stream: StreamInfo) -> float:
    """Bits for the whole stream at the operating rate."""
    return OPERATING_BITS_PER_SAMPLE * stream.width * stream.height * stream.frame_count


def operating_quality_db(curve: RdCurve, stream: StreamInfo) -> float:
    """PSNR-Y in dB that an anchor reaches at the operating rate: where codecs are compared."""
    return quality_at_bits(curve, operating_bits(stream))


def measure_anchor(clip: Clip, encoder: AnchorEncoder, crf: float, work_dir: Path) -> RatePoint:
    """Encode, decode and score one rate point, by the same metrics as a candidate.

    Odd sizes are padded to even by repeating the last row or column, since HEVC 4:2:0 has no odd
    sizes, and cropped again before scoring: the anchor pays for the padding. Files in
    ``work_dir`` are removed. Raises ``InfrastructureFailure`` when ffmpeg fails.
    """
    bitstream = work_dir / f"{encoder.name}-{clip.sha256[:16]}-{crf:g}.{encoder.muxer}"
    try:
        started = time.perf_counter()
        _encode(clip, encoder, crf, bitstream)
        encoded = time.perf_counter()
        decoded = _decode(bitstream, clip.stream)
        done = time.perf_counter()
        data = bitstream.read_bytes()
    finally:
        bitstream.unlink(missing_ok=True)
    if len(decoded) != len(clip.frames):
        raise InfrastructureFailure(
            f"{encoder.name} returned {len(decoded)} of {len(clip.frames)} frames of {clip.name}"
        )
    return RatePoint(
        clip=clip.name,
        qp=crf,
        bits=8 * len(data),
        frames=len(decoded),
        quality=measure_quality(clip.frames, decoded),
        cost=Cost(
            encode_wall_seconds=encoded - started,
            decode_wall_seconds=done - encoded,
            frames=len(decoded),
        ),
        bitstream_sha256=hashlib.sha256(data).hexdigest(),
    )


def anchor_curve(
    clip: Clip,
    encoder: AnchorEncoder,
    cache_dir: Path,
    *,
    jobs: int = 1,
    on_point: Callable[[RatePoint], None] | None = None,
) -> RdCurve:
    """The anchor's working range on a clip: three points either side of the operating rate.

    Read from ``cache_dir`` when the same samples were encoded with the same settings before;
    otherwise measured with up to ``jobs`` encoders at a time and kept there. ``on_point`` hears
    of every point of a new measurement, in the caller's thread. Raises ``SourceError`` when the
    clip is too easy or too hard for the operating rate, ``InfrastructureFailure`` when encoding
    fails.
    """
    identity = _identity(clip, encoder)
    cached = read_curve(cache_dir, identity)
    if cached is not None:
        return _renamed(cached, clip.name)
    with tempfile.TemporaryDirectory(prefix="evocodec-anchor-") as folder:
        points = _bracket_operating_rate(
            clip,
            lambda crf: measure_anchor(clip, encoder, crf, Path(folder)),
            encoder,
            jobs,
            on_point,
        )
    curve = _working_range(clip, encoder, points)
    write_curve(cache_dir, identity, curve)
    return curve


def is_cached(clip: Clip, encoder: AnchorEncoder, cache_dir: Path) -> bool:
    """Whether ``anchor_curve`` would answer without encoding."""
    return read_curve(cache_dir, _identity(clip, encoder)) is not None


def _identity(clip: Clip, encoder: AnchorEncoder) -> dict[str, str]:
    return {
        "format": _CACHE_FORMAT,
        "encoder": encoder.name,
        "arguments": " ".join(encoder.arguments),
        "muxer": encoder.muxer,
        "ffmpeg": ffmpeg_version(),
        "clip_sha256": clip.sha256,
    }


def _renamed(curve: RdCurve, clip: str) -> RdCurve:
    # The same samples may be known under another name in another run.
    return replace(
        curve, clip=clip, points=tuple(replace(point, clip=clip) for point in curve.points)
    )


def _bracket_operating_rate(
    clip: Clip,
    measure: Callable[[float], RatePoint],
    encoder: AnchorEncoder,
    jobs: int,
    on_point: Callable[[RatePoint], None] | None,
) -> list[RatePoint]:
    points: list[RatePoint] = []
    wanted: tuple[float, ...] = CRF_LADDER
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        while wanted:
            for point in pool.map(measure, wanted):
                points.append(point)
                if on_point is not None:
                    on_point(point)
            wanted = _rates_to_add(points, operating_bits(clip.stream), encoder.rate_limits)
    return points


def _rates_to_add(
    points: list[RatePoint], target_bits: float, limits: tuple[float, float]
) -> tuple[float, ...]:
    lowest, highest = limits
    rates = [point.qp for point in points]
    above = sum(point.bits > target_bits for point in points)
    below = len(points) - above
    wanted: list[float] = []
    if above < POINTS_EACH_SIDE and min(rates) > lowest:
        missing = POINTS_EACH_SIDE - above
        wanted += [max(lowest, min(rates) - CRF_STEP * (k + 1)) for k in range(missing)]
    if below < POINTS_EACH_SIDE and max(rates) < highest:
        missing = POINTS_EACH_SIDE - below
        wanted += [min(highest, max(rates) + CRF_STEP * (k + 1)) for k in range(missing)]
    return tuple(dict.fromkeys(wanted))


def _working_range(clip: Clip, encoder: AnchorEncoder, points: Iterable[RatePoint]) -> RdCurve:
    curve = make_curve(encoder.name, clip.name, points)
    target_bits = operating_bits(clip.stream)
    below = [point for point in curve.points if point.bits <= target_bits]
    above = [point for point in curve.points if point.bits > target_bits]
    if min(len(below), len(above)) < _MIN_POINTS_EACH_SIDE:
        problem = "already lossless or nearly so" if len(above) < len(below) else "too noisy"
        raise SourceError(
            f"{clip.name}: {encoder.name} cannot be measured either side of "
            f"{OPERATING_BITS_PER_SAMPLE:.4f} bits a sample (10 Mbit/s at 1080p30): it spends "
            f"{curve.points[0].bits} to {curve.points[-1].bits} bits where {target_bits:.0f} are "
            f"meant, so the clip is {problem} there; choose another clip, or another part of it"
        )
    working = replace(curve, points=(*below[-POINTS_EACH_SIDE:], *above[:POINTS_EACH_SIDE]))
    try:
        check_monotonic(working)
    except CandidateFailure as error:
        raise SourceError(
            f"{clip.name}: no comparison is possible: {error.message}; choose another clip"
        ) from error
    return working


def _encode(clip: Clip, encoder: AnchorEncoder, crf: float, bitstream: Path) -> None:
    width, height = _even(clip.stream.width), _even(clip.stream.height)
    command = [
        *(ffmpeg_exe(), "-v", "error", "-nostdin", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}"),
        *("-r", str(clip.stream.fps), "-i", "pipe:0"),
        *(*encoder.arguments, "-crf", f"{crf:g}", "-f", encoder.muxer, str(bitstream)),
    ]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=complaints) as process,
    ):
        stdin = cast(BinaryIO, process.stdin)
        with suppress(BrokenPipeError):  # ffmpeg gave up: its exit status and stderr say why
            for frame in clip.frames:
                stdin.write(pack_frame(_pad_to_even(frame)))
        with suppress(BrokenPipeError):
            stdin.close()
        code = process.wait()
        complaints.seek(0)
        report = complaints.read().decode("utf-8", "replace").strip()
    if code != 0:
        raise InfrastructureFailure(
            f"{encoder.name} failed on {clip.name} at crf {crf:g} (exit {code}): {report[-500:]}"
        )


def _decode(bitstream: Path, stream: StreamInfo) -> tuple[Frame, ...]:
    return tuple(_crop_to(frame, stream) for frame in iter_frames(str(bitstream)))


def _even(side: int) -> int:
    return side + side % 2


def _pad_to_even(frame: Frame) -> Frame:
    height, width = frame.y.shape
    if height % 2 == 0 and width % 2 == 0:
        return frame
    luma = cast(Plane, np.pad(frame.y, ((0, height % 2), (0, width % 2)), mode="edge"))
    return frame._replace(y=luma)


def _crop_to(frame: Frame, stream: StreamInfo) -> Frame:
    return frame._replace(y=frame.y[: stream.height, : stream.width])
