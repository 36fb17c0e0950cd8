"""Tables of ``anchors``: one per clip, and the means over clips."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from evocodec.cli.payload.anchors import ratio
from evocodec.cli.render.tables import add, make_table, quality_range, spaced
from evocodec.cli.render.text import sanitize
from evocodec.domain.results import Comparison, Metric, RdCurve
from evocodec.formatting import DASH, number, percent, size

if TYPE_CHECKING:
    from evocodec.app.outputs import AnchorReport


def by_clip(reports: Iterable["AnchorReport"]) -> Mapping[str, Sequence["AnchorReport"]]:
    """Return the reports of each clip, in their order."""
    found: dict[str, list[AnchorReport]] = {}
    for report in reports:
        found.setdefault(report.curve.clip, []).append(report)
    return found


def clip_title(report: "AnchorReport") -> Text:
    """Return the title of a clip's table."""
    stream = report.stream
    title = Text(sanitize(report.curve.clip), style="bold")
    return title.append(
        f"  {stream.width}×{stream.height}, {stream.frame_count} frames, "
        f"{float(stream.fps):.4g} frames/s; compared at {number(report.operating_psnr_y_db)} dB "
        "PSNR-Y",
        style="not bold dim",
    )


def anchors_table(reports: Sequence["AnchorReport"], metrics: Sequence[Metric]) -> RenderableType:
    """Return the anchors of one clip beside its primary one."""
    table = make_table(
        "anchor",
        "bits",
        *(f"BD {_label(metric)}" for metric in metrics),
        "range, dB",
        "points",
        "frames/cpu s",
        "enc cpu",
        "dec cpu",
        "memory",
        "",
        left=(0, len(metrics) + 8),
    )
    for report in reports:
        low, high = quality_range(report.curve)
        cost, first = report.cost, report.primary_cost
        add(
            table,
            Text(sanitize(report.curve.codec), style="bold" if report.is_primary else ""),
            _bits(report),
            *(_bd_rate(report, metric) for metric in metrics),
            f"{number(low, 1)} {DASH} {number(high, 1)}",
            str(len(report.curve.points)),
            number(ratio(1.0, cost.encode_cpu_seconds), 1),
            _times(ratio(cost.encode_cpu_seconds, first.encode_cpu_seconds)),
            _times(ratio(cost.decode_cpu_seconds, first.decode_cpu_seconds)),
            size(cost.peak_memory_bytes) if cost.peak_memory_bytes else DASH,
            _origin(report),
        )
    return spaced(table)


def problems(reports: Iterable["AnchorReport"], metrics: Sequence[Metric]) -> list[str]:
    """Return what is wrong or noteworthy, a line each."""
    lines = []
    for report in reports:
        name = f"{report.curve.clip}, {report.curve.codec}"
        if report.is_primary:
            lines += [f"{report.curve.clip}: {notice}" for notice in report.notices]
        if report.problem:
            lines.append(f"{name}: {report.problem}")
            continue
        for metric in metrics:
            found = report.comparisons.get(metric)
            if found is not None and found.problem:
                lines.append(f"{name}, {_label(metric)}: {found.problem}")
    return lines


def means_table(clips: Mapping[str, Sequence["AnchorReport"]], metric: Metric) -> RenderableType:
    """Return each anchor's BD-rate on every clip, and the mean where all have one."""
    table = make_table(f"BD {_label(metric)}", *clips, "mean")
    names = dict.fromkeys(
        report.curve.codec
        for reports in clips.values()
        for report in reports
        if not report.is_primary
    )
    for name in names:
        found = [_akima(_find(reports, name), metric) for reports in clips.values()]
        known = [value for value in found if value is not None]
        mean = math.fsum(known) / len(known) if len(known) == len(clips) else None
        add(table, sanitize(name), *(percent(value) for value in found), percent(mean))
    return spaced(table)


def points_table(curve: RdCurve, flag: str) -> RenderableType:
    """Return the rate points of one curve, with what each cost."""
    table = make_table(
        *(flag, "kbit", "PSNR-Y", "worst frame", "PSNR 6:1:1", "MS-SSIM", "VMAF", "VMAF-NEG"),
        *("enc cpu s", "dec cpu s"),
        left=(),
    )
    for point in curve.points:
        quality = point.quality
        add(
            table,
            f"{point.qp:g}",
            f"{point.bits / 1000:.1f}",
            number(quality.psnr_y_db),
            number(quality.worst_frame_psnr_y_db),
            number(quality.psnr_611_db),
            number(quality.ms_ssim, 4),
            number(quality.vmaf),
            number(quality.vmaf_neg),
            number(point.cost.encode_cpu_seconds or None),
            number(point.cost.decode_cpu_seconds or None),
        )
    return spaced(table)


def _label(metric: Metric) -> str:
    return metric.value.upper().replace("_", "-")


def _find(reports: Sequence["AnchorReport"], name: str) -> "AnchorReport | None":
    return next((report for report in reports if report.curve.codec == name), None)


def _akima(report: "AnchorReport | None", metric: Metric) -> float | None:
    found: Comparison | None = report.comparisons.get(metric) if report else None
    return found.bd_rate.akima_percent if found and found.bd_rate else None


def _bits(report: "AnchorReport") -> str:
    if report.equal_quality_ratio is not None:
        return f"{percent((report.equal_quality_ratio - 1) * 100)} at its dB"
    if report.operating_ratio is None:
        return DASH
    return percent((report.operating_ratio - 1) * 100) if not report.is_primary else "0 %"


def _bd_rate(report: "AnchorReport", metric: Metric) -> str:
    return "0 %" if report.is_primary else percent(_akima(report, metric))


def _times(value: float | None) -> str:
    return DASH if value is None else f"{number(value, 1 if value >= 1.95 else 2)}×"


def _origin(report: "AnchorReport") -> str:
    if report.problem:
        return "failed"
    if not report.command:
        return "your file" if len(report.curve.points) == 1 else "your files"
    return "cached" if report.cached else "measured"
