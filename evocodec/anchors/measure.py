"""Anchor measurement: encodes a clip with real encoders and builds their RD curves.

Encoders write raw elementary streams; the size of the stream is the bit count, with no container.
Encoding is reproducible to the byte: threads are pinned, and the name of a cached curve is a digest
of the settings, the samples of the clip and the ffmpeg version.
"""

import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from evocodec.anchors.cache import read_curve, write_curve
from evocodec.anchors.encoders import AnchorEncoder
from evocodec.anchors.process import AnchorDecoding, encode
from evocodec.anchors.rate_ladder import POINTS_EACH_SIDE, bracketing_rates, covering_rates
from evocodec.curves.rd_curve import check_monotonic, make_curve, quality_at_bits
from evocodec.domain.errors import CandidateFailure, InfrastructureFailure, SourceError
from evocodec.domain.results import (
    HEVC_BITRATE_MBPS,
    Cost,
    Quality,
    RatePoint,
    RdCurve,
    ResourceUse,
)
from evocodec.domain.video import StreamInfo
from evocodec.metrics.meter import measure_quality
from evocodec.metrics.vmaf import VMAF_MIN_SIDE
from evocodec.video.clips import Clip
from evocodec.video.ffmpeg import ffmpeg_version

OPERATING_BITS_PER_SAMPLE = HEVC_BITRATE_MBPS * 1e6 / (1920 * 1080 * 30)
"""Bits a luma sample and frame that 10 Mbit/s mean at 1080p30: 0.1608."""

HEVC_MIN_SIDE = 16
"""x265 refuses less."""

_SAFE_SIDE = 32  # below, x265 4.3 crashes on some sizes, such as 34x30
_MIN_POINTS_EACH_SIDE = 2
_CACHE_FORMAT = "2"  # raise it when the protocol changes; 2: frames are limited in a mean
_MOST_DECODED_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class AnchorEvent:
    """Start (``point`` is None) or end of the measurement of one rate point."""

    clip: str
    encoder: AnchorEncoder
    rate: float
    point: RatePoint | None = None


Listener = Callable[[AnchorEvent], None]


def operating_bits(stream: StreamInfo) -> float:
    """Return the bits of the whole stream at the operating rate."""
    return OPERATING_BITS_PER_SAMPLE * stream.width * stream.height * stream.frame_count


def operating_quality_db(curve: RdCurve, stream: StreamInfo) -> float:
    """PSNR-Y in dB that an anchor reaches at the operating rate; codecs are compared there."""
    return quality_at_bits(curve, operating_bits(stream))


def measure_anchor(
    clip: Clip,
    encoder: AnchorEncoder,
    crf: float,
    work_dir: Path,
    *,
    vmaf: bool = False,
    cancelled: Callable[[], bool] | None = None,
) -> RatePoint:
    """Encode, decode and measure one rate point, with the metrics used for a candidate.

    Odd sizes are padded to even by repeating the last row or column, since 4:2:0 streams have no
    odd sizes, and cropped again before scoring: the anchor pays for the padding. Files in
    ``work_dir`` are removed. Raises ``InfrastructureFailure`` when ffmpeg fails, or once
    ``cancelled`` answers yes.
    """
    bitstream = work_dir / f"{encoder.name}-{clip.sha256[:16]}-{crf:g}.{encoder.muxer}"
    try:
        encoding = encode(clip.frames, clip.stream, encoder, crf, bitstream, cancelled=cancelled)
        quality, decoding = decode_and_measure(clip, bitstream, vmaf=vmaf)
        data = bitstream.read_bytes()
    except CandidateFailure as error:
        raise InfrastructureFailure(f"{encoder.name} on {clip.name}: {error.message}") from error
    finally:
        bitstream.unlink(missing_ok=True)
    return RatePoint(
        clip=clip.name,
        qp=crf,
        bits=8 * len(data),
        frames=clip.stream.frame_count,
        quality=quality,
        cost=Cost.of(encoding, decoding, clip.stream.frame_count),
        bitstream_sha256=hashlib.sha256(data).hexdigest(),
    )


def decode_and_measure(
    clip: Clip, bitstream: Path, *, vmaf: bool = False, filters: str = ""
) -> tuple[Quality, ResourceUse]:
    """Decode a raw stream of a clip, and measure its quality against the clip.

    Raises ``CandidateFailure`` when the number of frames differs, ``SourceError`` when their size
    does, ``InfrastructureFailure`` when ffmpeg fails.
    """
    decoding = AnchorDecoding(bitstream, clip.stream, filters=filters)
    if clip.stream.raw_bits // 8 <= _MOST_DECODED_BYTES:
        decoded = tuple(decoding.frames())
        return measure_quality(clip.frames, decoded, vmaf=vmaf), decoding.usage
    quality = measure_quality(clip.frames, decoding.frames(), vmaf=vmaf)
    # The decoder waited for the metrics; alone, its one thread would have taken this long.
    return quality, replace(decoding.usage, wall_seconds=decoding.usage.cpu_seconds)


def anchor_curve(
    clip: Clip,
    encoder: AnchorEncoder,
    cache_dir: Path,
    *,
    jobs: int = 1,
    on_point: Callable[[RatePoint], None] | None = None,
    on_event: Listener | None = None,
    fresh: bool = False,
    vmaf: bool = False,
    stop: threading.Event | None = None,
) -> RdCurve:
    """Return the anchor's curve on a clip: three points either side of the operating rate.

    It is read from ``cache_dir`` if the same samples were encoded with the same settings before,
    and with VMAF if ``vmaf`` is set. Otherwise, or when ``fresh``, it is measured with up to
    ``jobs`` encoders at a time and cached. ``on_point`` receives every point of a new measurement,
    in the caller's thread; ``on_event`` receives every start and end, in any thread. Raises
    ``SourceError`` when the clip is too small, or too easy or too hard for the operating rate,
    ``InfrastructureFailure`` when encoding fails.
    """
    size = clip.stream.width, clip.stream.height
    if min(size) < HEVC_MIN_SIDE:
        raise SourceError(
            f"{clip.name}: {size[0]}x{size[1]} is too small for HEVC, whose encoder needs "
            f"{HEVC_MIN_SIDE} samples a side; choose a larger clip, or scale it: "
            f"`{clip.source.path}:64x64`"
        )
    identity = _identity(clip, encoder)
    cached = None if fresh else read_curve(cache_dir, identity)
    if cached is not None and not _lacks_vmaf(cached, clip, vmaf=vmaf):
        return _renamed(cached, clip.name)
    target_bits = operating_bits(clip.stream)
    measurer = _AnchorMeasurer(clip, encoder, jobs, _both(on_point, on_event), vmaf, stop)
    try:
        points = measurer.until_complete(
            lambda known: bracketing_rates(known, target_bits, encoder.rate_limits), ()
        )
    except InfrastructureFailure as error:
        if min(size) >= _SAFE_SIDE or (stop is not None and stop.is_set()):
            raise
        raise SourceError(
            f"{clip.name}: {encoder.name} fails on pictures of {size[0]}x{size[1]} ({error}); "
            f"choose a clip of at least {_SAFE_SIDE} samples a side, or scale it: "
            f"`{clip.source.path}:64x64`"
        ) from error
    curve = _working_range(clip, encoder, points)
    write_curve(cache_dir, identity, curve)
    return curve


def covering_curve(
    clip: Clip,
    encoder: AnchorEncoder,
    primary: RdCurve,
    cache_dir: Path,
    *,
    jobs: int = 1,
    on_event: Listener | None = None,
    fresh: bool = False,
    vmaf: bool = False,
    stop: threading.Event | None = None,
) -> RdCurve:
    """Return another anchor's curve over the quality range of the primary anchor's curve.

    Cached points are reused; only missing ones are encoded. The curve may cover less than asked
    where the encoder's rate scale ends, and it need not be monotonic: the comparison reports that.
    Raises ``InfrastructureFailure`` when encoding fails.
    """
    identity = _identity(clip, encoder)
    cached = None if fresh else read_curve(cache_dir, identity)
    known: tuple[RatePoint, ...] = ()
    if cached is not None:
        known = _in_limits(_renamed(cached, clip.name), encoder)
    again: tuple[float, ...] = ()
    if cached is not None and _lacks_vmaf(cached, clip, vmaf=vmaf):
        again, known = tuple(point.qp for point in known), ()
    operating_db = operating_quality_db(primary, clip.stream)
    points = list(known)

    def keep(point: RatePoint) -> None:
        # At once: a slow encoder that is stopped half-way has not worked for nothing.
        points.append(point)
        write_curve(cache_dir, identity, make_curve(encoder.name, clip.name, points))

    _AnchorMeasurer(clip, encoder, jobs, _both(keep, on_event), vmaf, stop).until_complete(
        lambda measured: (
            (not measured and again) or covering_rates(measured, primary, operating_db, encoder)
        ),
        known,
    )
    return make_curve(encoder.name, clip.name, points)


def is_cached(
    clip: Clip,
    encoder: AnchorEncoder,
    cache_dir: Path,
    *,
    primary: RdCurve | None = None,
    vmaf: bool = False,
) -> bool:
    """Whether ``anchor_curve``, or ``covering_curve`` of ``primary``, would encode nothing."""
    cached = read_curve(cache_dir, _identity(clip, encoder))
    if cached is None or _lacks_vmaf(cached, clip, vmaf=vmaf):
        return False
    if primary is None:
        return True
    operating_db = operating_quality_db(primary, clip.stream)
    return not covering_rates(_in_limits(cached, encoder), primary, operating_db, encoder)


def _identity(clip: Clip, encoder: AnchorEncoder) -> dict[str, str]:
    return {
        "format": _CACHE_FORMAT,
        "encoder": encoder.name,
        "arguments": " ".join(encoder.arguments),
        "muxer": encoder.muxer,
        "ffmpeg": ffmpeg_version(),
        "clip_sha256": clip.sha256,
    }


def _in_limits(curve: RdCurve, encoder: AnchorEncoder) -> tuple[RatePoint, ...]:
    # Limits may have been narrowed since the curve was kept.
    lowest, highest = encoder.rate_limits
    return tuple(point for point in curve.points if lowest <= point.qp <= highest)


def _renamed(curve: RdCurve, clip: str) -> RdCurve:
    # The same samples may be known under another name in another run.
    return replace(
        curve, clip=clip, points=tuple(replace(point, clip=clip) for point in curve.points)
    )


def _both(on_point: Callable[[RatePoint], None] | None, on_event: Listener | None) -> Listener:
    def forward(event: AnchorEvent) -> None:
        if on_event is not None:
            on_event(event)
        if on_point is not None and event.point is not None:
            on_point(event.point)

    return forward


def _lacks_vmaf(curve: RdCurve, clip: Clip, *, vmaf: bool) -> bool:
    possible = min(clip.stream.width, clip.stream.height) >= VMAF_MIN_SIDE
    return vmaf and possible and any(point.quality.vmaf is None for point in curve.points)


@dataclass(frozen=True, slots=True)
class _AnchorMeasurer:
    clip: Clip
    encoder: AnchorEncoder
    jobs: int
    on_event: Listener | None
    vmaf: bool
    stop: threading.Event | None

    def until_complete(
        self,
        plan: Callable[[Sequence[RatePoint]], tuple[float, ...]],
        known: Sequence[RatePoint],
    ) -> list[RatePoint]:
        """Measure the rates that the plan returns, round after round, until it returns none."""
        points = list(known)
        wanted = plan(points)
        if not wanted:
            return points
        cancelled = threading.Event()
        with (
            tempfile.TemporaryDirectory(prefix="evocodec-anchor-") as folder,
            ThreadPoolExecutor(max_workers=max(1, self.jobs)) as pool,
        ):
            try:
                while wanted:
                    begun = [pool.submit(self._measure, rate, folder, cancelled) for rate in wanted]
                    for done in as_completed(begun):
                        points.append(done.result())
                        self._emit(points[-1].qp, points[-1])
                    wanted = plan(points)
            except BaseException:
                cancelled.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return points

    def _measure(self, rate: float, folder: str, cancelled: threading.Event) -> RatePoint:
        self._emit(rate, None)
        return measure_anchor(
            self.clip,
            self.encoder,
            rate,
            Path(folder),
            vmaf=self.vmaf,
            cancelled=lambda: cancelled.is_set() or (self.stop is not None and self.stop.is_set()),
        )

    def _emit(self, rate: float, point: RatePoint | None) -> None:
        if self.on_event is not None:
            self.on_event(AnchorEvent(self.clip.name, self.encoder, rate, point))


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
