"""RD plots of a report as files: one figure a metric, a panel a clip."""

from collections.abc import Mapping
from typing import BinaryIO

from matplotlib.lines import Line2D

from evocodec.curves.rd_curve import METRIC_NAMES, unit_of
from evocodec.domain.results import Metric
from evocodec.output_file import OutputFile
from evocodec.report.model import Report
from evocodec.report.rd_panel import Stroke, draw_clip, drawable, panel_grid, save_figure

# The subject, the first reference, and the others: as in the HTML report.
_COLOURS = (
    *("#C23B00", "#111111", "#0072B2", "#009E73", "#A8568A"),
    *("#B07D00", "#3F8FC4", "#6B6B6B", "#7A5C2E"),
)
_PANEL_INCHES = (4.3, 3.5)


def write_plots(report: Report, files: Mapping[str, OutputFile]) -> tuple[str, ...]:
    """Draw every metric into ``rd-METRIC.png`` and ``.svg`` of ``files``; returns their names.

    Raises:
        UserError: one cannot be written.
    """
    written: list[str] = []
    for metric in report.metrics:
        png, svg = files[f"rd-{metric.value}.png"], files[f"rd-{metric.value}.svg"]
        with png.writing() as first, svg.writing() as second:
            _write_plot(report, metric, first, second)
        written += (png.name, svg.name)
    return tuple(written)


def _write_plot(report: Report, metric: Metric, png: BinaryIO, svg: BinaryIO) -> None:
    figure, panels, columns = panel_grid(len(report.clips), _PANEL_INCHES, 1.1)
    strokes = [_stroke(index) for index in range(len(report.codecs))]
    for index, (clip, panel) in enumerate(zip(report.clips, panels, strict=True)):
        curves = [
            (codec.curves[clip.name], stroke)
            for codec, stroke in zip(report.codecs, strokes, strict=True)
            if clip.name in codec.curves
        ]
        draw_clip(panel, clip.name, clip.stream, curves, metric)
        panel.set_xlabel("kbit/s (logarithmic)")
        if index % columns == 0:
            panel.set_ylabel(f"{METRIC_NAMES[metric]}{unit_of(metric)}")
    handles = [
        Line2D([], [], color=stroke.colour, linewidth=stroke.width, label=drawable(codec.name))
        for codec, stroke in zip(report.codecs, strokes, strict=True)
    ]
    figure.suptitle(drawable(report.title), fontsize=13, fontweight="bold", x=0.01, ha="left")
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    save_figure(figure, png, svg, dpi=95)


def _stroke(index: int) -> Stroke:
    colour = _COLOURS[index % len(_COLOURS)]
    return Stroke(colour, 2.2, marker_size=4) if index == 0 else Stroke(colour, 1.2, marker_size=3)
