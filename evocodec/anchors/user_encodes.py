"""User encodes as an anchor: a person's own encoded files, without their container.

The bits are those of the video stream alone, copied out unchanged. Its decoded frames must be those
of the clip: the same number and the same size.
"""

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evocodec.anchors.measure import decode_and_measure
from evocodec.curves.rd_curve import bits_at_quality, make_curve, quality_range
from evocodec.domain.errors import CandidateFailure, InfrastructureFailure, SourceError
from evocodec.domain.results import Cost, Metric, RatePoint, RdCurve
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip
from evocodec.video.conversion import conversion
from evocodec.video.damage import require_sound
from evocodec.video.declared import Probe
from evocodec.video.ffmpeg import (
    DecodeOutcome,
    decoding,
    ffmpeg_exe,
    probe,
    require_own_end,
)
from evocodec.video.ffmpeg_input import open_input
from evocodec.video.ffmpeg_messages import cause
from evocodec.video.sources import LocalVideo, opened

BASELINE = "baseline"
"""What a curve of a person's files is called."""

_MUXERS = {"hevc": "hevc", "h264": "h264", "av1": "obu", "vvc": "vvc"}
_COPY_SECONDS = 600
# Length prefixes become start codes; otherwise ffmpeg guesses, and takes some lengths for those.
_START_CODES = {"hevc": "hevc_mp4toannexb", "h264": "h264_mp4toannexb", "vvc": "vvc_mp4toannexb"}


def user_encode_curve(clip: Clip, files: Sequence[str], *, vmaf: bool = False) -> RdCurve:
    """Measure files, local or ``s3://``, that each hold an encode of the clip's frames.

    ``qp`` of a point is the position of the file in ``files``, from 1. Raises ``SourceError`` when
    a file cannot be read, is no HEVC, AVC, AV1 or VVC, or holds other frames than the clip.
    """
    points = [
        _measure_file(clip, path, index, vmaf=vmaf) for index, path in enumerate(files, start=1)
    ]
    return make_curve(BASELINE, clip.name, points)


def bits_ratio(curve: RdCurve, point: RatePoint, metric: Metric = Metric.PSNR_Y) -> float | None:
    """Return the bits of ``curve`` at the quality of ``point``, divided by the bits of ``point``.

    Between measured points of the curve; None beyond them, or where either lacks the metric. Raises
    ``CandidateFailure`` when the curve is not monotonic or has a single point.
    """
    quality = point.quality.value(metric)
    if quality is None or any(other.quality.value(metric) is None for other in curve.points):
        return None
    low, high = quality_range(curve, metric)
    if not low <= quality <= high:
        return None
    return bits_at_quality(curve, quality, metric) / point.bits


def _measure_file(clip: Clip, path: str, index: int, *, vmaf: bool) -> RatePoint:
    source = ClipSource(BASELINE, path)
    with (
        opened(source) as video,
        tempfile.TemporaryDirectory(prefix="evocodec-baseline-") as folder,
    ):
        codec = video.declared.codec
        if codec not in _MUXERS:
            raise SourceError(
                f"{path}: its video is {codec}; a baseline is HEVC, AVC (h264), AV1 or VVC, raw or "
                "in MP4 or MKV"
            )
        require_sound(source, video, "format=yuv420p", _decoded(video))
        raw = Path(folder) / f"stream.{_MUXERS[codec]}"
        _copy_stream(video.path, raw, path, codec)
        filters = conversion(_colours(video.declared, probe(str(raw))))
        try:
            quality, usage = decode_and_measure(clip, raw, vmaf=vmaf, filters=filters)
        except CandidateFailure as error:
            raise SourceError(
                f"{path}: {error.message}; it must hold exactly the {clip.stream.frame_count} "
                f"frames of {clip.name}: encode exactly those, or name the part of the source that "
                f"it holds with --clip, for example `{clip.source.path}@{_part(clip)}`"
            ) from error
        except SourceError as error:
            raise SourceError(f"{path} cannot be compared with {clip.name}: {error}") from error
        except InfrastructureFailure as error:
            raise SourceError(f"{path}: damaged or truncated: {error}") from error
        data = raw.read_bytes()
    return RatePoint(
        clip=clip.name,
        qp=float(index),
        bits=8 * len(data),
        frames=clip.stream.frame_count,
        quality=quality,
        cost=Cost(
            decode_wall_seconds=usage.wall_seconds,
            decode_cpu_seconds=usage.cpu_seconds,
            peak_memory_bytes=usage.peak_memory_bytes,
            frames=clip.stream.frame_count,
        ),
        bitstream_sha256=hashlib.sha256(data).hexdigest(),
    )


def _part(clip: Clip) -> str:
    start = clip.source.start_frame
    return f"{start}-{start + max(1, clip.stream.frame_count // 2)}"


def _decoded(video: LocalVideo) -> DecodeOutcome:
    """Decode a file as it is: what its decoder complains of is damage, not quality."""
    with decoding(video.path, "format=yuv420p") as decoder:
        for _ in decoder.frames():
            pass
    return decoder.outcome


def _colours(container: Probe, stream: Probe) -> Probe:
    """What the stream declares, or else its container: copying it out loses the container's."""
    return replace(
        stream,
        colour_range=stream.colour_range or container.colour_range,
        matrix=stream.matrix or container.matrix,
    )


def _copy_stream(local: str, raw: Path, path: str, codec: str) -> None:
    start_codes = ("-bsf:v", _START_CODES[codec]) if codec in _START_CODES else ()
    with open_input(Path(local)) as source:
        done = subprocess.run(
            [
                *(ffmpeg_exe(), "-v", "error", *source.options),
                *("-map", "0:V:0", "-c", "copy", *start_codes, "-f", raw.suffix[1:], str(raw)),
            ],
            capture_output=True,
            timeout=_COPY_SECONDS,
            start_new_session=True,  # Ctrl-C is for its parent, which ends it in order
            check=False,
            pass_fds=source.descriptors,
        )
    require_own_end(done.returncode, path)
    if done.returncode != 0 or not raw.exists() or raw.stat().st_size == 0:
        why = cause(done.stderr.decode("utf-8", "replace"))
        raise SourceError(
            f"{path}: its video stream cannot be copied out: {why}; make the file again, or name "
            "the raw stream of its encoder"
        )
