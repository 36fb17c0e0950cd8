"""RD panels drawn by matplotlib, shared by the figures of runs, reports and faults."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from evocodec.anchors.measure import operating_bits
from evocodec.domain.results import Metric, RdCurve
from evocodec.domain.video import StreamInfo
from evocodec.file_kinds import MARK
from evocodec.report.drawn_curve import drawn_curve, kbit_per_second

_MOST_COLUMNS = 3
_DASHES = (0, (4, 3))


@dataclass(frozen=True, slots=True)
class Stroke:
    """Line style of a curve; widths and sizes in points."""

    colour: str
    width: float
    marker: str = "o"
    marker_size: float = 4.5


def panel_grid(
    count: int, panel_inches: tuple[float, float], legend_inches: float
) -> tuple[Figure, list[Axes], int]:
    """Return a figure with one panel for each of ``count`` clips, and the panels per row."""
    columns = min(_MOST_COLUMNS, count)
    rows = math.ceil(count / columns)
    size = (max(6.5, panel_inches[0] * columns), panel_inches[1] * rows + legend_inches)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, panels[:count], columns


def draw_clip(
    panel: Axes,
    clip: str,
    stream: StreamInfo,
    curves: Sequence[tuple[RdCurve, Stroke]],
    metric: Metric = Metric.PSNR_Y,
) -> None:
    """One clip: curves over a logarithmic rate, and the operating rate as a dashed line."""
    for curve, stroke in curves:
        _draw_curve(panel, curve, metric, stream, stroke)
    rate = kbit_per_second(operating_bits(stream), stream)
    panel.axvline(rate, color="#888888", linewidth=0.8, linestyle=_DASHES, zorder=1)
    panel.set_title(
        f"{clip}  {stream.width}×{stream.height}, {stream.frame_count} frames",
        fontsize=10.5,
        loc="left",
    )
    logarithmic_axis(panel)


def logarithmic_axis(panel: Axes) -> None:
    """Round ticks on a logarithmic x axis, a faint grid, and no frame."""
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid(visible=True, color="#e6e6e6", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def save_figure(
    figure: Figure, png: Path | BinaryIO | None, svg: Path | BinaryIO | None, dpi: int
) -> None:
    """Write a figure; the same curves give the same SVG, and its text stays text."""
    if png is not None:
        figure.savefig(png, format="png", dpi=dpi, metadata={"Software": MARK})
    if svg is None:
        return
    # A fixed salt and no date.
    with mpl.rc_context({"svg.hashsalt": "evocodec", "svg.fonttype": "none"}):
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": MARK})


def drawable(text: str) -> str:
    """Return a name as matplotlib can write it: no formula, and nothing that is no text."""
    return text.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def _draw_curve(
    panel: Axes, curve: RdCurve, metric: Metric, stream: StreamInfo, stroke: Stroke
) -> None:
    drawn = drawn_curve(curve, metric, stream)
    panel.plot(
        drawn.line_rates_kbps,
        drawn.line_qualities,
        color=stroke.colour,
        linewidth=stroke.width if drawn.interpolated else 0.8,
        linestyle="-" if drawn.interpolated else ":",
        zorder=3,
    )
    panel.plot(
        drawn.rates_kbps,
        drawn.qualities,
        stroke.marker,
        color=stroke.colour,
        markersize=stroke.marker_size,
        linestyle="none",
        zorder=4,
    )
