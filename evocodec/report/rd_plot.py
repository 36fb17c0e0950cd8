"""Rate–distortion plots against an anchor: one panel a clip, the anchor in black."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from evocodec.anchors.measure import operating_bits, operating_quality_db
from evocodec.curves.rd_curve import quality_range_db
from evocodec.domain.results import RdCurve
from evocodec.domain.video import StreamInfo
from evocodec.report.drawn_curve import kbit_per_second
from evocodec.report.rd_panel import Stroke, draw_clip, panel_grid, save_figure

# Okabe and Ito (2008), and two more of Tol's: distinguishable for colour-blind readers too.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#882255", "#999933"),
)
# One more than colours: pairs differ for long.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_ANCHOR = Stroke("black", 1.8)
_LEGEND_ENTRY_INCHES = 1.8
_BEYOND_THE_ANCHOR = 0.35
_PANEL_INCHES = (4.4, 3.8)


def plot_rd(
    *,
    anchors: Mapping[str, RdCurve],
    curves: Mapping[str, Mapping[str, RdCurve]],
    streams: Mapping[str, StreamInfo],
    title: str,
    png: Path | BinaryIO,
    svg: Path | BinaryIO | None = None,
) -> None:
    """Draw kbit/s (logarithmic) against PSNR-Y for every clip into a PNG, and an SVG if wanted.

    ``anchors`` and ``streams`` are keyed by clip, ``curves`` by label and then by clip. The
    anchor's operating point is marked. A curve that cannot be interpolated is dotted, so that a
    picture goes with its error. Raises ``ValueError`` when there is no clip.
    """
    if not anchors:
        raise ValueError("there is no clip to plot")
    clips = list(anchors)
    figure, panels, columns = panel_grid(len(clips), _PANEL_INCHES, 0.9)
    for index, (clip, panel) in enumerate(zip(clips, panels, strict=True)):
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
        ncols=max(1, min(len(curves) + 2, int(figure.get_figwidth() / _LEGEND_ENTRY_INCHES))),
        frameon=False,
    )
    save_figure(figure, png, svg, dpi=130)


def draw_panel(
    panel: Axes,
    anchor: RdCurve,
    shown: Sequence[RdCurve | None],
    stream: StreamInfo,
) -> None:
    """One clip: the anchor and its operating point, and curves in colours."""
    curves = [(anchor, _ANCHOR)]
    curves += [(curve, _stroke(index)) for index, curve in enumerate(shown) if curve is not None]
    draw_clip(panel, anchor.clip, stream, curves)
    rate = kbit_per_second(operating_bits(stream), stream)
    quality = operating_quality_db(anchor, stream)
    panel.axhline(quality, color="#888888", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    panel.plot(rate, quality, marker="*", markersize=13, color="black", zorder=5)
    # A nearly lossless point of another codec must not squeeze everything else together.
    low, high = quality_range_db(anchor)
    bottom, top = panel.get_ylim()
    beyond = _BEYOND_THE_ANCHOR * (high - low)
    panel.set_ylim(max(bottom, low - beyond), min(top, high + beyond))


def _stroke(index: int) -> Stroke:
    return Stroke(_COLOURS[index % len(_COLOURS)], 1.5, _MARKERS[index % len(_MARKERS)])


def _legend_handles(anchor: str, labels: Sequence[str]) -> list[Line2D]:
    strokes = [(anchor, _ANCHOR), *((label, _stroke(index)) for index, label in enumerate(labels))]
    handles = [
        Line2D(
            [],
            [],
            color=stroke.colour,
            marker=stroke.marker,
            markersize=stroke.marker_size,
            label=label,
        )
        for label, stroke in strokes
    ]
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
