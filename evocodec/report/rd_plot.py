"""Rate–distortion plots: one panel a clip, the anchor in black, each version in its colour."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from evocodec.anchors.measure import operating_bits, operating_quality_db
from evocodec.curves.interpolation import pchip
from evocodec.curves.rd_curve import curve_arrays, quality_range_db
from evocodec.domain.errors import CandidateFailure
from evocodec.domain.results import RdCurve
from evocodec.domain.video import StreamInfo

# Okabe and Ito (2008), and two more of Tol's: told apart by colour-blind readers too.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#882255", "#999933"),
)
# One more than colours: pairs differ for long.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_LEGEND_ENTRY_INCHES = 1.8
_BEYOND_THE_ANCHOR = 0.35
_MOST_COLUMNS = 3
_PANEL_INCHES = (4.4, 3.8)


def plot_rd(
    *,
    anchors: Mapping[str, RdCurve],
    curves: Mapping[str, Mapping[str, RdCurve]],
    streams: Mapping[str, StreamInfo],
    title: str,
    png: Path,
    svg: Path | None = None,
) -> None:
    """Draw kbit/s (logarithmic) against PSNR-Y for every clip into a PNG, and an SVG if wanted.

    ``anchors`` and ``streams`` are keyed by clip, ``curves`` by label and then by clip. The
    anchor's operating point is marked. A curve that cannot be interpolated is drawn as dots, so
    that a picture goes with its error. Raises ``ValueError`` when there is no clip.
    """
    if not anchors:
        raise ValueError("there is no clip to plot")
    clips = list(anchors)
    columns = min(_MOST_COLUMNS, len(clips))
    rows = math.ceil(len(clips) / columns)
    size = (max(6.5, _PANEL_INCHES[0] * columns), _PANEL_INCHES[1] * rows + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(clips) :]:
        panel.set_visible(False)
    for index, clip in enumerate(clips):
        panel = panels[index]
        if index % columns == 0:
            panel.set_ylabel("PSNR-Y, dB")
        if index + columns >= len(clips):
            panel.set_xlabel("kbit/s (logarithmic)")
        shown = [by_clip.get(clip) for by_clip in curves.values()]
        draw_panel(panel, anchors[clip], shown, streams[clip])
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    figure.legend(
        handles=_legend_handles(anchors[clips[0]].codec, list(curves)),
        loc="outside lower center",
        ncols=max(1, min(len(curves) + 2, int(size[0] / _LEGEND_ENTRY_INCHES))),
        frameon=False,
    )
    figure.savefig(png, dpi=130)
    if svg is None:
        return
    # A fixed salt and no date: the same curves give the same file. Text stays text.
    with mpl.rc_context({"svg.hashsalt": "evocodec", "svg.fonttype": "none"}):
        figure.savefig(svg, metadata={"Date": None})


def draw_panel(
    panel: Axes,
    anchor: RdCurve,
    shown: Sequence[RdCurve | None],
    stream: StreamInfo,
) -> None:
    """One clip: the anchor and its operating point, and curves in colours."""
    _draw_curve(panel, anchor, stream, colour="black", marker="o", width=1.8)
    for index, curve in enumerate(shown):
        if curve is not None:
            _draw_curve(
                panel,
                curve,
                stream,
                colour=_COLOURS[index % len(_COLOURS)],
                marker=_MARKERS[index % len(_MARKERS)],
                width=1.5,
            )
    rate = kbit_per_second(operating_bits(stream), stream)
    quality = operating_quality_db(anchor, stream)
    panel.axvline(rate, color="#999999", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    panel.axhline(quality, color="#999999", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    panel.plot(rate, quality, marker="*", markersize=13, color="black", zorder=5)
    panel.set_title(
        f"{anchor.clip}  {stream.width}×{stream.height}, {stream.frame_count} frames",
        fontsize=10.5,
        loc="left",
    )
    # A nearly lossless point of another codec must not squeeze everything else together.
    low, high = quality_range_db(anchor)
    bottom, top = panel.get_ylim()
    beyond = _BEYOND_THE_ANCHOR * (high - low)
    panel.set_ylim(max(bottom, low - beyond), min(top, high + beyond))
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid(visible=True, color="#e6e6e6", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _draw_curve(
    panel: Axes, curve: RdCurve, stream: StreamInfo, *, colour: str, marker: str, width: float
) -> None:
    rates = [kbit_per_second(point.bits, stream) for point in curve.points]
    qualities = [point.quality.psnr_y_db for point in curve.points]
    panel.plot(rates, qualities, marker, color=colour, markersize=4.5, linestyle="none", zorder=4)
    try:
        psnr, log_bits = curve_arrays(curve)
    except CandidateFailure:
        panel.plot(rates, qualities, color=colour, linewidth=0.8, linestyle=":", zorder=3)
        return
    smooth = np.linspace(psnr[0], psnr[-1], 100)
    bits = 10 ** pchip(psnr, log_bits).at(smooth)
    panel.plot(bits * kbit_per_second(1, stream), smooth, color=colour, linewidth=width, zorder=3)


def _legend_handles(anchor: str, labels: Sequence[str]) -> list[Line2D]:
    handles = [Line2D([], [], color="black", marker="o", markersize=4.5, label=anchor)]
    for index, label in enumerate(labels):
        handles.append(
            Line2D(
                [],
                [],
                color=_COLOURS[index % len(_COLOURS)],
                marker=_MARKERS[index % len(_MARKERS)],
                markersize=4.5,
                label=label,
            )
        )
    operating = Line2D(
        [],
        [],
        color="black",
        marker="*",
        markersize=11,
        linestyle="none",
        label="operating point (10 Mbit/s at 1080p30)",
    )
    return [*handles, operating]


def kbit_per_second(bits: float, stream: StreamInfo) -> float:
    """Mean rate of a stream of so many bits."""
    return bits * float(stream.fps) / stream.frame_count / 1000
