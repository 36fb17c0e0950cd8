"""Charts of the HTML report as data: pixels, ticks and classes; ``chart.svg.j2`` writes them.

They are no matplotlib figures because a page's charts take colours by class from its theme, answer
a hover, and have no inline style, which the page's content policy forbids. An RD chart takes 4 kB
and 3 ms this way; as a matplotlib SVG 18 kB, half a second and 69 inline styles.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evocodec.curves.rd_curve import METRIC_NAMES, unit_of
from evocodec.domain.results import Metric, RatePoint, RdCurve
from evocodec.domain.video import StreamInfo
from evocodec.report.drawn_curve import DrawnCurve, drawn_curve

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 46, WIDTH - 10, 12, HEIGHT - 38
"""The size of a drawing, and the box in it where data is drawn, in pixels."""

Position = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from data to pixels, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    label: str
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, x = self.low, self.high, value
        if self.logarithmic:
            low, high, x = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (x - low) / (high - low) * (self.end - self.start)

    @property
    def middle(self) -> float:
        """The pixel half way."""
        return (self.start + self.end) / 2

    def ticks(self) -> list[float]:
        """Round values within the range."""
        if self.logarithmic:
            return _log_ticks(self.low, self.high)
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first
        return [(first + k) * step for k in range(count + 1)]


@dataclass(frozen=True, slots=True)
class Dot:
    """A measured point; ``tip`` is what a hover shows."""

    x: float
    y: float
    tip: str


@dataclass(frozen=True, slots=True)
class Trace:
    """One codec in a chart: a class for its colour, a line, and dots."""

    style: str
    dots: tuple[Dot, ...]
    radius: float
    line: tuple[Position, ...] = ()
    dotted: bool = False


@dataclass(frozen=True, slots=True)
class Name:
    """A codec's name beside its dot; ``anchor`` is SVG's ``text-anchor``."""

    text: str
    style: str
    x: float
    y: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A whole drawing; ``marks`` are dashed vertical lines, ``front`` joins the best ones."""

    title: str
    x_axis: Axis
    y_axis: Axis
    traces: tuple[Trace, ...]
    marks: tuple[float, ...] = ()
    front: tuple[Position, ...] = ()
    names: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class FrameValues:
    """One quality of one codec, frame by frame; ``slot`` is its colour, 0 for the subject."""

    codec: str
    slot: int
    values: Sequence[float]


def rd_chart(
    curves: Sequence[tuple[int, RdCurve]],
    metric: Metric,
    stream: StreamInfo,
    *,
    title: str,
    mark_kbps: float | None,
) -> Chart | None:
    """Rates (logarithmic) against one quality; None where nothing has it.

    ``curves`` come with their colour's slot, 0 for the subject; ``mark_kbps`` is the operating
    rate.
    """
    drawn = [(slot, curve.codec, drawn_curve(curve, metric, stream)) for slot, curve in curves]
    drawn = [item for item in drawn if item[2].points]
    if not drawn:
        return None
    y_label = f"{METRIC_NAMES[metric]}{unit_of(metric)}"
    xs = [x for _, _, curve in drawn for x in curve.rates_kbps]
    ys = [y for _, _, curve in drawn for y in curve.qualities]
    label = "kbit/s (logarithmic)"
    x_axis = Axis(min(xs) / 1.08, max(xs) * 1.08, LEFT, RIGHT, label, logarithmic=True)
    y_axis = padded(ys, y_label)
    marked = mark_kbps is not None and x_axis.low <= mark_kbps <= x_axis.high
    return Chart(
        title=title,
        x_axis=x_axis,
        y_axis=y_axis,
        # The subject last, so that it lies above the others.
        traces=tuple(
            _rd_trace(slot, codec, curve, x_axis, y_axis)
            for slot, codec, curve in sorted(drawn, key=lambda item: -item[0])
        ),
        marks=(x_axis.at(mark_kbps),) if marked and mark_kbps is not None else (),
    )


def frame_chart(
    lines: Sequence[FrameValues], *, title: str, y_label: str, shown_frames: Sequence[int]
) -> Chart:
    """One quality frame by frame, in display order; ``shown_frames`` have images in the report."""
    ys = [y for line in lines for y in line.values]
    count = max(len(line.values) for line in lines)
    x_axis = Axis(0, max(count - 1, 1), LEFT, RIGHT, "frame")
    y_axis = padded(ys, y_label)
    return Chart(
        title=title,
        x_axis=x_axis,
        y_axis=y_axis,
        traces=tuple(
            _frame_trace(line, x_axis, y_axis)
            for line in sorted(lines, key=lambda line: -line.slot)
        ),
        marks=tuple(x_axis.at(frame) for frame in shown_frames),
    )


def padded(values: Sequence[float], label: str) -> Axis:
    """A vertical scale that leaves some room beyond the values."""
    low, high = min(values), max(values)
    margin = max((high - low) * 0.06, 1e-3)
    return Axis(low - margin, high + margin, BOTTOM, TOP, label)


def _rd_trace(slot: int, codec: str, drawn: DrawnCurve, x_axis: Axis, y_axis: Axis) -> Trace:
    line = zip(drawn.line_rates_kbps, drawn.line_qualities, strict=True)
    measured = zip(drawn.points, drawn.rates_kbps, drawn.qualities, strict=True)
    return Trace(
        style=f"s{slot}",
        dots=tuple(
            Dot(x_axis.at(rate), y_axis.at(value), _tip(codec, point, rate, value, y_axis.label))
            for point, rate, value in measured
        ),
        radius=3.2 if slot == 0 else 2.4,
        line=tuple((x_axis.at(rate), y_axis.at(value)) for rate, value in line),
        dotted=not drawn.interpolated,
    )


def _frame_trace(line: FrameValues, x_axis: Axis, y_axis: Axis) -> Trace:
    dots = tuple(
        Dot(x_axis.at(x), y_axis.at(y), f"{line.codec} · frame {x:g} · {y:.2f}")
        for x, y in enumerate(line.values)
    )
    return Trace(
        style=f"s{line.slot}",
        dots=dots,
        radius=2.0 if len(line.values) <= 80 else 1.0,
        line=tuple((dot.x, dot.y) for dot in dots),
    )


def _tip(codec: str, point: RatePoint, kbps: float, value: float, label: str) -> str:
    return f"{codec} · qp {point.qp:g} · {kbps:,.1f} kbit/s · {value:.2f} {label}"


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [
            factor * 10.0**power
            for power in range(first, last + 1)
            for factor in factors
            if low <= factor * 10.0**power <= high
        ]
        if len(found) <= 6:
            break
    return found
