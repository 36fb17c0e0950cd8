"""Fault plot: the curves that cannot be compared, with the problem marked in red."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evocodec.curves.compare import pair_faults
from evocodec.domain.results import RdCurve
from evocodec.domain.video import StreamInfo
from evocodec.report.drawn_curve import kbit_per_second
from evocodec.report.rd_plot import draw_panel

_RED = "#c1121f"


def plot_faults(
    *,
    anchors: Mapping[str, RdCurve],
    curves: Mapping[str, RdCurve],
    streams: Mapping[str, StreamInfo],
    title: str,
    png: Path,
) -> None:
    """Draw each curve against its anchor, all keyed by clip, with faults marked and said.

    Raises ``ValueError`` when there is no curve.
    """
    if not curves:
        raise ValueError("there is no curve to plot")
    figure = Figure(figsize=(5.2 * len(curves), 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, (clip, curve) in zip(panels, curves.items(), strict=True):
        draw_panel(panel, anchors[clip], [curve], streams[clip])
        panel.set_ylabel("PSNR-Y, dB")
        _mark(panel, anchors[clip], curve, streams[clip])
    figure.suptitle(
        "\n".join(textwrap.wrap(title, 58 * len(curves))),
        fontsize=11,
        fontweight="bold",
        x=0.01,
        ha="left",
    )
    figure.savefig(png, dpi=110)


def _mark(panel: Axes, anchor: RdCurve, curve: RdCurve, stream: StreamInfo) -> None:
    faults = pair_faults(anchor, curve)
    for fault in faults:
        owner = anchor if fault.codec == anchor.codec else curve
        for index in fault.points:
            point = owner.points[index]
            panel.plot(
                kbit_per_second(max(point.bits, 1), stream),
                point.quality.psnr_y_db,
                marker="o",
                markersize=14,
                markerfacecolor="none",
                markeredgecolor=_RED,
                markeredgewidth=1.8,
                zorder=6,
            )
        if fault.at is not None:
            panel.axhline(fault.at, color=_RED, linewidth=1.0, linestyle=":")
    notes = "\n".join(line for fault in faults for line in textwrap.wrap(f"• {fault.message}", 66))
    panel.set_xlabel("kbit/s (logarithmic)" + (f"\n{notes}" if notes else ""), loc="left")
    panel.xaxis.label.set_color(_RED if notes else "black")
    panel.xaxis.label.set_fontsize(8.5)
