"""JSON and CSV output of ``anchors``; docs/anchors.md lists the keys and columns."""

import csv
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from evocodec.cli.payload.run import Json, curve_payload, plain, stream_payload
from evocodec.domain.results import RdCurve
from evocodec.formatting import harmless_cell

if TYPE_CHECKING:
    from evocodec.app.outputs import AnchorReport

COLUMNS = (
    *("clip", "clip_sha256", "width", "height", "fps", "frames", "anchor", "compared_with"),
    *("metric", "bd_rate_akima_percent", "bd_rate_pchip_percent", "overlap", "problem"),
    *("operating_psnr_y_db", "operating_ratio", "equal_quality_ratio", "points"),
    *("encode_cpu_seconds_per_frame", "decode_cpu_seconds_per_frame"),
    *("encode_cpu_ratio", "decode_cpu_ratio", "peak_memory_bytes", "cached", "command"),
)


def anchor_payload(report: "AnchorReport") -> Json:
    """Return one anchor on one clip."""
    return {
        "codec": report.curve.codec,
        "clip": report.curve.clip,
        "clip_sha256": report.clip_sha256,
        **stream_payload(report.stream),
        "operating_psnr_y_db": plain(report.operating_psnr_y_db),
        "cached": report.cached,
        "compared_with": report.primary.codec,
        "operating_ratio": plain(report.operating_ratio),
        "equal_quality_ratio": plain(report.equal_quality_ratio),
        "comparisons": [plain(found) for found in report.comparisons.values()],
        "problem": report.problem,
        "notices": list(report.notices),
        **cost_payload(report),
        "command": report.command,
        "points": [
            {**found, "cost": plain(point.cost), "bitstream_sha256": point.bitstream_sha256}
            for found, point in zip(curve_payload(report.curve), report.curve.points, strict=True)
        ],
    }


def cost_payload(report: "AnchorReport") -> Json:
    """Return CPU seconds a frame, and their ratios to the primary anchor's."""
    own, first = report.cost, report.primary_cost
    return {
        "encode_cpu_seconds_per_frame": plain(own.encode_cpu_seconds),
        "decode_cpu_seconds_per_frame": plain(own.decode_cpu_seconds),
        "encode_cpu_ratio": plain(ratio(own.encode_cpu_seconds, first.encode_cpu_seconds)),
        "decode_cpu_ratio": plain(ratio(own.decode_cpu_seconds, first.decode_cpu_seconds)),
        "peak_memory_bytes": own.peak_memory_bytes,
    }


def ratio(value: float | None, over: float | None) -> float | None:
    """Return a quotient where both are known."""
    return value / over if value is not None and over else None


def anchors_csv(reports: Iterable["AnchorReport"]) -> bytes:
    """Return a table with a row for each clip, anchor and metric."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for report in reports:
        for row in _rows(report):
            writer.writerow({k: "" if v is None else harmless_cell(v) for k, v in row.items()})
    return text.getvalue().encode("utf-8", "backslashreplace")


def _rows(report: "AnchorReport") -> Iterable[Json]:
    whole = anchor_payload(report)
    common = {name: whole[name] for name in COLUMNS if name in whole}
    common |= {"anchor": report.curve.codec, "points": points_of(report.curve)}
    if not report.comparisons:
        yield common
    for metric, found in report.comparisons.items():
        rate = found.bd_rate
        yield common | {
            "metric": metric.value,
            "bd_rate_akima_percent": plain(rate.akima_percent) if rate else None,
            "bd_rate_pchip_percent": plain(rate.pchip_percent) if rate else None,
            "overlap": plain(rate.overlap) if rate else None,
            "problem": found.problem,
        }


def points_of(curve: RdCurve) -> int:
    """Return how many rate points a curve has."""
    return len(curve.points)
