"""JSON output of ``eval`` and ``compare``; docs/reports.md lists the keys."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from evocodec.cli.payload.run import Json, curve_payload, plain, score_payload, stream_payload

if TYPE_CHECKING:
    from evocodec.app.outputs import EvaluationReport
    from evocodec.report.model import Codec, Report


def evaluation_payload(found: "EvaluationReport", written: Iterable[str] = ()) -> Json:
    """Return what ``eval`` measured: the score's keys, and the whole report."""
    return {
        "program": found.label,
        **score_payload(found.score),
        "report": report_payload(found.report),
        "written": list(written),
    }


def report_payload(report: "Report") -> Json:
    """Return a report without its pictures."""
    from evocodec.report.model import SCHEMA
    from evocodec.report.pareto import pareto_front

    front = pareto_front(report.trade_offs)
    return {
        "schema": SCHEMA,
        "title": report.title,
        "subject": _codec_payload(report.subject),
        "references": [_codec_payload(codec) for codec in report.references],
        "metrics": [metric.value for metric in report.metrics],
        "clips": [
            {
                "name": clip.name,
                **stream_payload(clip.stream),
                "sha256": clip.sha256,
                "origin": clip.origin,
                "licence": clip.licence,
                "operating_psnr_y_db": plain(clip.operating_psnr_y_db),
            }
            for clip in report.clips
        ],
        "comparisons": [plain(found) for found in report.comparisons],
        "means": [
            {
                "reference": reference,
                "metric": metric.value,
                "bd_rate_percent": plain(mean.percent),
                "interval_percent": plain(mean.interval),
                "clips": mean.clips,
            }
            for (reference, metric), mean in report.means.items()
        ],
        "views": [
            {
                "clip": view.clip,
                "reference": plain(view.reference),
                "subject": plain(view.subject),
                "frames": [
                    {"frame": picture.frame, "why": picture.why, "window": list(picture.window)}
                    for picture in view.pictures
                ],
            }
            for view in report.views
        ],
        "trade_offs": [
            {
                "codec": point.label,
                "bd_rate_percent": plain(point.bd_rate_percent),
                "decode_cpu_ms_per_frame": plain(point.decode_ms),
                "on_front": point in front,
            }
            for point in report.trade_offs
        ],
        "environment": plain(report.environment),
        "notices": list(report.notices),
    }


def _codec_payload(codec: "Codec") -> Json:
    curves = {}
    for clip, curve in codec.curves.items():
        points = curve_payload(curve)
        for row, point in zip(points, curve.points, strict=True):
            row |= {
                "quality": plain(point.quality),
                "cost": plain(point.cost),
                "bitstream_sha256": point.bitstream_sha256,
                "series": plain(point.series),
            }
        curves[clip] = points
    return {
        "name": codec.name,
        "kind": codec.kind.value,
        "command": codec.command,
        "program": plain(codec.program),
        "cost": plain(codec.cost),
        "encode_time_ratio": plain(codec.encode_time_ratio),
        "decode_time_ratio": plain(codec.decode_time_ratio),
        "held_out_bitrate_mbps": plain(codec.held_out_bitrate_mbps),
        "curves": curves,
    }
