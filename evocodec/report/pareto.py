"""Pareto front over bits and time: results that no other result beats on both."""

from collections.abc import Sequence
from dataclasses import dataclass

from evocodec.domain.results import Score
from evocodec.file_kinds import SVG
from evocodec.output_file import OutputFile


@dataclass(frozen=True, slots=True)
class TradeOff:
    """A result as a point: BD-rate against the anchor, and decode time; less is better in both.

    ``decode_ms`` is time a frame on the machine that measured it, wall or CPU time but the same for
    all points that are compared; from a score it is wall time, and points of one run compare.
    ``decode_time_ratio`` is CPU time over the anchor's, where it is known.
    """

    label: str
    bd_rate_percent: float
    decode_ms: float
    decode_time_ratio: float | None = None
    adopted: bool = False
    held_out_bitrate_mbps: float | None = None


def trade_off(label: str, score: Score, *, adopted: bool = False) -> TradeOff | None:
    """A score as a point; None when its decode time was not measured."""
    if score.decode_fps <= 0:
        return None
    return TradeOff(
        label=label,
        bd_rate_percent=score.bd_rate_percent,
        decode_ms=1000 / score.decode_fps,
        decode_time_ratio=score.decode_time_ratio,
        adopted=adopted,
    )


def pareto_front(points: Sequence[TradeOff]) -> tuple[TradeOff, ...]:
    """The points that no other one matches in both and beats in one, quickest first.

    Of several that are equal in both, all stay.
    """
    front: list[TradeOff] = []
    for point in sorted(points, key=lambda p: (p.decode_ms, p.bd_rate_percent)):
        best = front[-1] if front else None
        equal = best is not None and (best.decode_ms, best.bd_rate_percent) == (
            point.decode_ms,
            point.bd_rate_percent,
        )
        if best is None or equal or point.bd_rate_percent < best.bd_rate_percent:
            front.append(point)
    return tuple(front)


def plot_pareto(points: Sequence[TradeOff], title: str, output: OutputFile) -> None:
    """Draw decode time (logarithmic) against BD-rate into a PNG or SVG, the front as a line.

    Raises ``UserError`` when it cannot be written, ``ValueError`` when there is no point.
    """
    if not points:
        raise ValueError("there is no result to plot")
    # Imported here: computing the front alone needs no drawing library.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from evocodec.report.rd_panel import logarithmic_axis, save_figure

    figure = Figure(figsize=(6.6, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    front = pareto_front(points)
    panel.plot(
        [p.decode_ms for p in front],
        [p.bd_rate_percent for p in front],
        drawstyle="steps-post",
        color="#0072B2",
        linewidth=1.4,
        label="not beaten on both",
    )
    for adopted, marker, colour in ((False, "o", "#888888"), (True, "D", "#D55E00")):
        shown = [p for p in points if p.adopted is adopted]
        if shown:
            panel.plot(
                [p.decode_ms for p in shown],
                [p.bd_rate_percent for p in shown],
                marker,
                color=colour,
                markersize=6,
                label="adopted" if adopted else "measured",
            )
    for point in front:
        panel.annotate(
            point.label,
            (point.decode_ms, point.bd_rate_percent),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=8,
        )
    logarithmic_axis(panel)
    panel.set_xlabel("decode time, ms a frame (logarithmic; less is better)")
    panel.set_ylabel("BD-rate against x265 medium, % (less is better)")
    panel.axhline(0, color="#999999", linewidth=0.8, linestyle=(0, (4, 3)))
    panel.legend(frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    with output.writing() as file:
        if output.kind is SVG:
            save_figure(figure, None, file, dpi=130)
        else:
            save_figure(figure, file, None, dpi=130)
