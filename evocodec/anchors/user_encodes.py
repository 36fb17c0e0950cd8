"""User encodes as an anchor: a person's own encoded files, without their container.

The bits are those of the video stream alone, copied out unchanged. Its decoded frames must be those
of the clip: the same number and the same size.
"""

import hashlib
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evocodec.anchors.measure import decode_and_measure
from evocodec.curves.rd_curve import bits_at_quality, make_curve, quality_range
from evocodec.domain.errors import CandidateFailure, InfrastructureFailure, SourceError
from evocodec.domain.results import Cost, Metric, RatePoint, RdCurve
from evocodec.video.clip_spec import ClipSource
from evocodec.video.clips import Clip
from evocodec.video.ffmpeg import ffmpeg_exe, probe
from evocodec.video.ffmpeg_input import open_input
from evocodec.video.sources import opened

BASELINE = "baseline"
"""What a curve of a person's files is called."""

_MUXERS = {"hevc": "hevc", "h264": "h264", "av1": "obu", "vvc": "vvc"}
_COPY_SECONDS = 600
_LOSSLESS_COLOURS = (
    "scale=out_color_matrix=bt709:out_range=tv:sws_dither=none:"
    "flags=accurate_rnd+full_chroma_int+bitexact"
)


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
    with (
        opened(ClipSource(BASELINE, path)) as video,
        tempfile.TemporaryDirectory(prefix="evocodec-baseline-") as folder,
    ):
        codec = _codec_of(video.path, path)
        raw = Path(folder) / f"stream.{_MUXERS[codec]}"
        _copy_stream(video.path, raw, path)
        declared = probe(str(raw))
        converted = declared.colour_range == "pc" or declared.matrix not in ("", "bt709")
        try:
            quality, usage = decode_and_measure(
                clip, raw, vmaf=vmaf, filters=_LOSSLESS_COLOURS if converted else ""
            )
        except CandidateFailure as error:
            raise SourceError(
                f"{path}: {error.message}; it must hold exactly the {clip.stream.frame_count} "
                f"frames of {clip.name}: name the same part of the source with --clip, for "
                f"example `{clip.source.path}@0-64`"
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


def _codec_of(local: str, path: str) -> str:
    with open_input(Path(local)) as source:
        done = subprocess.run(
            [ffmpeg_exe(), "-hide_banner", *source.options],
            capture_output=True,
            timeout=_COPY_SECONDS,
            check=False,
            pass_fds=source.descriptors,
        )
    report = done.stderr.decode("utf-8", "replace")
    match = re.search(r"^\s*Stream #\S+: Video: (\w+)", report, flags=re.MULTILINE)
    codec = match[1] if match else "nothing"
    if codec not in _MUXERS:
        raise SourceError(
            f"{path}: its video is {codec}; a baseline is HEVC, AVC (h264), AV1 or VVC, raw or in "
            "MP4 or MKV"
        )
    return codec


def _copy_stream(local: str, raw: Path, path: str) -> None:
    with open_input(Path(local)) as source:
        done = subprocess.run(
            [
                *(ffmpeg_exe(), "-v", "error", *source.options),
                *("-map", "0:V:0", "-c", "copy", "-f", raw.suffix[1:], str(raw)),
            ],
            capture_output=True,
            timeout=_COPY_SECONDS,
            check=False,
            pass_fds=source.descriptors,
        )
    if done.returncode != 0 or not raw.exists() or raw.stat().st_size == 0:
        fields = done.stderr.decode("utf-8", "replace").strip()[-300:]
        raise SourceError(f"{path}: its video stream cannot be copied out: {fields}")
