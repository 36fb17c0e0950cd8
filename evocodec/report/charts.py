"""Charts as inline SVG: no library, no request, colours by class so that a page's theme sets them.

Points carry their figures as ``data-`` attributes for the page's hover, and as a title for
everybody else.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np

from evocodec.curves.interpolation import pchip
from evocodec.domain.results import RatePoint, RdCurve

WIDTH, HEIGHT = 420, 300
LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 12, 38
_SMOOTH = 32


@dataclass(frozen=True, slots=True)
class Line:
    """One codec in a chart; ``slot`` is its colour, 0 for the subject and 1 for the reference."""

    label: str
    slot: int
    xs: Sequence[float]
    ys: Sequence[float]
    tips: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from data to pixels, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, x = self.low, self.high, value
        if self.logarithmic:
            low, high, x = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (x - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the range."""
        if self.logarithmic:
            return _log_ticks(self.low, self.high)
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first
        return [(first + k) * step for k in range(count + 1)]


def rd_chart(
    lines: Sequence[tuple[int, RdCurve]],
    *,
    value: Callable[[RatePoint], float],
    kbps: Callable[[RatePoint], float],
    title: str,
    y_label: str,
    mark: tuple[float, float] | None,
) -> str:
    """Rates (logarithmic) against one quality; ``mark`` is the operating point."""
    drawn = [
        Line(
            label=curve.codec,
            slot=slot,
            xs=[kbps(point) for point in curve.points],
            ys=[value(point) for point in curve.points],
            tips=[_tip(curve, point, kbps(point), value(point), y_label) for point in curve.points],
        )
        for slot, curve in lines
    ]
    xs = [x for line in drawn for x in line.xs]
    ys = [y for line in drawn for y in line.ys]
    x_axis = Axis(min(xs) / 1.08, max(xs) * 1.08, LEFT, WIDTH - _RIGHT, logarithmic=True)
    y_axis = padded(ys, HEIGHT - _BOTTOM, _TOP)
    parts = [*frame_of(x_axis, y_axis, "kbit/s (logarithmic)", y_label)]
    if mark is not None and x_axis.low <= mark[0] <= x_axis.high:
        x = x_axis.at(mark[0])
        parts.append(
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{y_axis.start}"/>'
        )
    for line in sorted(drawn, key=lambda line: -line.slot):
        parts += _curve(line, x_axis, y_axis)
    return svg(parts, title)


def frame_chart(lines: Sequence[Line], *, title: str, y_label: str, tunables: Sequence[int]) -> str:
    """One quality frame by frame, in display order; ``tunables`` are the frames shown as images."""
    ys = [y for line in lines for y in line.ys]
    count = max(len(line.ys) for line in lines)
    x_axis = Axis(0, max(count - 1, 1), LEFT, WIDTH - _RIGHT)
    y_axis = padded(ys, HEIGHT - _BOTTOM, _TOP)
    parts = [*frame_of(x_axis, y_axis, "frame", y_label)]
    for mark in tunables:
        x = x_axis.at(mark)
        parts.append(
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{y_axis.start}"/>'
        )
    for line in sorted(lines, key=lambda line: -line.slot):
        path = " ".join(
            f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in zip(line.xs, line.ys, strict=True)
        )
        dots = _dots(line, x_axis, y_axis, 2.0 if count <= 80 else 1.0)
        parts.append(f'<g class="s{line.slot}"><polyline class="line" points="{path}"/>{dots}</g>')
    return svg(parts, title)


def _curve(line: Line, x_axis: Axis, y_axis: Axis) -> list[str]:
    """The measured points, and between them what BD-rate integrates; dotted where it cannot."""
    pairs = sorted(zip(line.ys, line.xs, strict=True))
    ys, xs = [y for y, _ in pairs], [x for _, x in pairs]
    rising = len(pairs) > 1 and all(b > a for values in (xs, ys) for a, b in pairwise(values))
    if rising:
        curve = pchip(np.array(ys), np.log10(np.array(xs)))
        smooth = np.linspace(ys[0], ys[-1], _SMOOTH)
        shown = zip(10 ** curve.at(smooth), smooth, strict=True)
    else:
        shown = zip(line.xs, line.ys, strict=True)
    path = " ".join(f"{x_axis.at(float(x)):.1f},{y_axis.at(float(y)):.1f}" for x, y in shown)
    kind = "line" if rising else "line broken"
    dots = _dots(line, x_axis, y_axis, 3.2 if line.slot == 0 else 2.4)
    return [f'<g class="s{line.slot}"><polyline class="{kind}" points="{path}"/>{dots}</g>']


def _dots(line: Line, x_axis: Axis, y_axis: Axis, radius: float) -> str:
    tips = line.tips or [
        f"{line.label} · frame {x:g} · {y:.2f}" for x, y in zip(line.xs, line.ys, strict=True)
    ]
    return "".join(
        f'<circle cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="{radius:g}" '
        f'data-tip="{escape(tip)}"/>'
        for x, y, tip in zip(line.xs, line.ys, tips, strict=True)
    )


def _tip(curve: RdCurve, point: RatePoint, kbps: float, value: float, label: str) -> str:
    return f"{curve.codec} · qp {point.qp:g} · {kbps:,.1f} kbit/s · {value:.2f} {label}"


def plot_box() -> tuple[float, float, float, float]:
    """Left, top, right and bottom of where data is drawn."""
    return LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM


def frame_of(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> list[str]:
    """Grid, ticks and the names of both axes."""
    parts = []
    for tick in y_axis.ticks():
        y = y_axis.at(tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_axis.ticks():
        x = x_axis.at(tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{y_axis.start}"/>'
        )
        parts.append(
            f'<text x="{x:.1f}" y="{y_axis.start + 14:g}" text-anchor="middle">{tick:g}</text>'
        )
    middle = (LEFT + WIDTH - _RIGHT) / 2
    parts.append(
        f'<text class="label" x="{middle:g}" y="{HEIGHT - 6}" text-anchor="middle">{x_label}</text>'
    )
    centre = (y_axis.start + y_axis.end) / 2
    parts.append(
        f'<text class="label" x="11" y="{centre:g}" text-anchor="middle" '
        f'transform="rotate(-90 11 {centre:g})">{escape(y_label)}</text>'
    )
    return parts


def svg(parts: Sequence[str], title: str) -> str:
    """A whole drawing."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def padded(values: Sequence[float], bottom: float, top: float) -> Axis:
    """A scale that leaves some room beyond the values."""
    low, high = min(values), max(values)
    margin = max((high - low) * 0.06, 1e-3)
    return Axis(low - margin, high + margin, bottom, top)


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
