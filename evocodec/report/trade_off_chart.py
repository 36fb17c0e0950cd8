"""Chart of bits against decode time, as data."""

from collections.abc import Iterator, Mapping, Sequence

from evocodec.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Chart,
    Dot,
    Name,
    Position,
    Trace,
    padded,
)
from evocodec.report.pareto import TradeOff, pareto_front

_LETTER = 5.4  # mean width of one, in pixels of the drawing
_SHIFTS = (4, -6, 14, -16, 24, -26, 34, -36)
_FAR_APART = 4.0  # from here on a linear scale shows the good ones on top of each other

_Box = tuple[float, float, float, float]


def trade_off_chart(
    points: Sequence[TradeOff], slots: Mapping[str, int], *, base: str, title: str
) -> Chart:
    """Decode time (logarithmic) against bits; ``slots`` has the colours of those with a name.

    The line joins those that no other one beats on both. Points without a slot are drawn small.
    """
    times = [point.decode_ms for point in points]
    bits = [100 + point.bd_rate_percent for point in points]
    label = "decode, CPU ms a frame (logarithmic)"
    x_axis = Axis(min(times) / 1.3, max(times) * 1.3, LEFT, RIGHT, label, logarithmic=True)
    wide = max(bits) > _FAR_APART * min(bits)
    if wide:
        label = f"bits, % of {base} (logarithmic)"
        y_axis = Axis(min(bits) / 1.15, max(bits) * 1.15, BOTTOM, TOP, label, logarithmic=True)
    else:
        y_axis = padded([value - 100 for value in bits], f"BD-rate against {base}, %")

    def position(point: TradeOff) -> Position:
        value = point.bd_rate_percent + (100 if wide else 0)
        return x_axis.at(point.decode_ms), y_axis.at(value)

    traces = []
    for point in points:
        slot = slots.get(point.label)
        style, radius = ("other", 2.6) if slot is None else (f"s{slot}", 4.6 if slot == 0 else 3.6)
        traces.append(Trace(style, (Dot(*position(point), _tip(point, base)),), radius))
    named = [(*position(point), point.label) for point in points if point.label in slots]
    return Chart(
        title=title,
        x_axis=x_axis,
        y_axis=y_axis,
        traces=tuple(traces),
        front=_steps([position(point) for point in pareto_front(points)]),
        names=tuple(_names(named, slots)),
    )


def _steps(positions: Sequence[Position]) -> tuple[Position, ...]:
    """Level until a slower one is smaller: nothing is known of what lies between two codecs."""
    corners: list[Position] = []
    for x, y in positions:
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return tuple(corners)


def _tip(point: TradeOff, base: str) -> str:
    return (
        f"{point.label} · {point.bd_rate_percent:+.1f} % bits against {base} · "
        f"{point.decode_ms:.3g} CPU ms a frame"
    )


def _names(named: Sequence[tuple[float, float, str]], slots: Mapping[str, int]) -> Iterator[Name]:
    """Names beside their points, moved up or down where another name stands."""
    taken: list[_Box] = []
    for x, y, label in sorted(named):
        width = _LETTER * len(label)
        left = x + 7 + width > WIDTH and x - 7 - width > LEFT
        start = x - 7 - width if left else x + 7
        boxes = [(start, y + shift - 9, start + width, y + shift + 2) for shift in _SHIFTS]
        inside = [box for box in boxes if box[1] > 0 and box[3] < HEIGHT - 38]
        free = [box for box in inside if not any(_overlap(box, other) for other in taken)]
        box = (free or boxes)[0]
        taken.append(box)
        beside, anchor = (x - 7, "end") if left else (x + 7, "start")
        yield Name(label, f"s{slots[label]}", beside, box[3] - 2, anchor)


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
