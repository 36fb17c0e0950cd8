"""Tables of an evaluation: every reference and metric, costs, and warnings."""

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from evocodec.cli.render.tables import add, make_table, spaced
from evocodec.cli.render.text import sanitize, shorten
from evocodec.domain.results import Comparison, Cost
from evocodec.formatting import DASH, number, percent, size

if TYPE_CHECKING:
    from evocodec.report.model import Report


def means_table(report: "Report") -> RenderableType:
    """Return the mean BD-rate against every reference, a column for each metric."""
    from evocodec.curves.rd_curve import METRIC_NAMES
    from evocodec.domain.results import Metric

    table = make_table(
        "BD-rate against",
        *(METRIC_NAMES[metric] for metric in report.metrics),
        "interval, PSNR-Y",
    )
    for reference in report.references:
        means = [report.means.get((reference.name, metric)) for metric in report.metrics]
        primary = report.means.get((reference.name, Metric.PSNR_Y))
        interval = primary.interval if primary else None
        add(
            table,
            reference.name,
            *(percent(mean.percent if mean else None) for mean in means),
            f"{percent(interval.low)} … {percent(interval.high)}" if interval else DASH,
        )
    return spaced(table)


def comparisons_table(report: "Report") -> RenderableType:
    """Return the subject against the first reference: a row for each clip, a column a metric."""
    from evocodec.curves.rd_curve import METRIC_NAMES

    reference = report.references[0].name
    table = make_table("BD-rate", *(METRIC_NAMES[metric] for metric in report.metrics))
    for clip in report.clips:
        cells = []
        for metric in report.metrics:
            found = report.comparison(reference, clip.name, metric)
            rate = found.bd_rate if found else None
            cells.append(percent(rate.akima_percent if rate else None))
        add(table, clip.name, *cells)
    return spaced(table)


def costs_table(report: "Report") -> RenderableType:
    """Return what coding takes: speed, CPU seconds a frame, and ratios to the first reference."""
    base = report.references[0].cost
    table = make_table(
        "cost", "enc fps", "enc CPU", "ratio", "dec fps", "dec CPU", "ratio", "memory"
    )
    for codec in report.codecs:
        cost = codec.cost
        add(
            table,
            codec.name,
            _fps(cost.frames, cost.encode_wall_seconds),
            *_cpu(cost, base, encode=True),
            _fps(cost.frames, cost.decode_wall_seconds),
            *_cpu(cost, base, encode=False),
            size(cost.peak_memory_bytes) if cost.peak_memory_bytes else DASH,
        )
    return spaced(table)


def problems_table(report: "Report", *, width: int) -> RenderableType:
    """Return the comparisons that could not be made, one line for each clip and reference."""
    table = make_table("no figure", "against", "why", left=(0, 1, 2))
    found: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in report.problems:
        if comparison.bd_rate is None:
            found.setdefault((comparison.clip, comparison.anchor), []).append(comparison)
    for (clip, anchor), each in found.items():
        message = f"{', '.join(problem.metric.value for problem in each)}: {each[0].problem}"
        room = max(40, width - 32)
        add(
            table, shorten(clip, 16), anchor, Text(shorten(sanitize(message), room), style="yellow")
        )
    return spaced(table)


def _fps(frames: int, seconds: float) -> str:
    return number(frames / seconds, 1) if seconds > 0 else DASH


def _cpu(cost: Cost, base: Cost, *, encode: bool) -> tuple[str, str]:
    ours, theirs = (
        (each.encode_cpu_seconds if encode else each.decode_cpu_seconds) / max(each.frames, 1)
        for each in (cost, base)
    )
    if ours <= 0:
        return DASH, DASH
    return f"{number(ours, 4)} s", f"{ours / theirs:.3g}×" if theirs > 0 else DASH
