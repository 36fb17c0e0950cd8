"""RD plots as files: one figure a metric, a panel a clip, for a paper or a pull request."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from evocodec.anchors.measure import operating_bits
from evocodec.curves.interpolation import pchip
from evocodec.domain.errors import UserError
from evocodec.domain.results import Metric, RdCurve
from evocodec.report.model import METRIC_NAMES, ClipFacts, Report, metric_unit

# The subject, the first reference, and the others: as in the HTML report.
_COLOURS = (
    *("#C23B00", "#111111", "#0072B2", "#009E73", "#A8568A"),
    *("#B07D00", "#3F8FC4", "#6B6B6B", "#7A5C2E"),
)
_COLUMNS = 3
_PANEL_INCHES = (4.3, 3.5)


def write_plots(report: Report, folder: Path) -> tuple[Path, ...]:
    """Draw every metric into ``rd-METRIC.png`` and ``.svg``.

    Raises:
        UserError: the folder cannot be written.
    """
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for metric in report.metrics:
            written += _write_plot(report, metric, folder / f"rd-{metric.value}")
    except OSError as error:
        message = f"cannot write plots to {folder}: {error.strerror or error}; name another folder"
        raise UserError(message) from error
    return tuple(written)


def _write_plot(report: Report, metric: Metric, stem: Path) -> tuple[Path, Path]:
    columns = min(_COLUMNS, len(report.clips))
    rows = math.ceil(len(report.clips) / columns)
    figure = Figure(
        figsize=(max(6.5, _PANEL_INCHES[0] * columns), _PANEL_INCHES[1] * rows + 1.1),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(report.clips) :]:
        panel.set_visible(False)
    for index, clip in enumerate(report.clips):
        _panel(panels[index], report, clip, metric)
        if index % columns == 0:
            panels[index].set_ylabel(f"{METRIC_NAMES[metric]} {metric_unit(metric)}".strip())
    handles, labels = panels[0].get_legend_handles_labels()
    figure.suptitle(report.title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    figure.savefig(png, dpi=95)
    # A fixed salt and no date: the same curves give the same file. Text stays text.
    with mpl.rc_context({"svg.hashsalt": "evocodec", "svg.fonttype": "none"}):
        figure.savefig(svg, metadata={"Date": None})
    return png, svg


def _panel(panel: Axes, report: Report, clip: ClipFacts, metric: Metric) -> None:
    scale = float(clip.stream.fps) / clip.stream.frame_count / 1000
    for index, codec in enumerate(report.codecs):
        curve = codec.curves.get(clip.name)
        if curve is not None:
            colour = _COLOURS[index % len(_COLOURS)]
            width = 2.2 if index == 0 else 1.2
            _draw(panel, curve, metric, scale, label=codec.name, colour=colour, width=width)
    rate = operating_bits(clip.stream) * scale
    panel.axvline(rate, color="#888888", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    panel.set_xscale("log")
    panel.set_xlabel("kbit/s (logarithmic)")
    panel.set_title(
        f"{clip.name}  {clip.stream.width}×{clip.stream.height}, {clip.stream.frame_count} frames",
        fontsize=10.5,
        loc="left",
    )
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid(visible=True, color="#e6e6e6", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _draw(
    panel: Axes,
    curve: RdCurve,
    metric: Metric,
    scale: float,
    *,
    label: str,
    colour: str,
    width: float,
) -> None:
    pairs = sorted(
        (value, point.bits * scale)
        for point in curve.points
        if (value := point.quality.value(metric)) is not None
    )
    qualities, rates = [value for value, _ in pairs], [rate for _, rate in pairs]
    if rises(qualities) and rises(rates) and len(pairs) > 1:
        smooth = np.linspace(qualities[0], qualities[-1], 60)
        shown = 10 ** pchip(np.array(qualities), np.log10(np.array(rates))).at(smooth)
        panel.plot(shown, smooth, color=colour, linewidth=width, label=label)
    else:
        panel.plot(rates, qualities, color=colour, linewidth=0.8, linestyle=":", label=label)
    panel.plot(rates, qualities, "o", color=colour, markersize=4 if width > 2 else 3)


def rises(values: Sequence[float]) -> bool:
    """Whether each value is above the one before."""
    return all(later > earlier for earlier, later in pairwise(values))
