"""The chart of bits against decode time, as inline SVG."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from evocodec.report.charts import HEIGHT, LEFT, WIDTH, Axis, frame_of, padded, plot_box, svg
from evocodec.report.pareto import TradeOff, pareto_front

_LETTER = 5.4  # mean width of one, in pixels of the drawing
_SHIFTS = (4, -6, 14, -16, 24, -26, 34, -36)
_FAR_APART = 4.0  # from here on a linear scale shows the good ones on top of each other

_Box = tuple[float, float, float, float]


def trade_off_chart(
    points: Sequence[TradeOff], slots: Mapping[str, int], *, base: str, title: str
) -> str:
    """Decode time (logarithmic) against bits; ``slots`` has the colours of those with a name.

    The line joins those that no other one beats on both. Points without a slot are drawn small.
    """
    front = pareto_front(points)
    times = [point.decode_ms for point in points]
    bits = [100 + point.bd_rate_percent for point in points]
    box = plot_box()
    x_axis = Axis(min(times) / 1.3, max(times) * 1.3, box[0], box[2], logarithmic=True)
    wide = max(bits) > _FAR_APART * min(bits)
    if wide:
        y_axis = Axis(min(bits) / 1.15, max(bits) * 1.15, box[3], box[1], logarithmic=True)
        y_label = f"bits, % of {base} (logarithmic)"
    else:
        y_axis = padded([value - 100 for value in bits], box[3], box[1])
        y_label = f"BD-rate against {base}, %"

    def place(point: TradeOff) -> tuple[float, float]:
        value = point.bd_rate_percent + (100 if wide else 0)
        return x_axis.at(point.decode_ms), y_axis.at(value)

    parts = frame_of(x_axis, y_axis, "decode, CPU ms a frame (logarithmic)", y_label)
    parts.append(f'<polyline class="front" points="{_steps([place(one) for one in front])}"/>')
    for point in points:
        x, y = place(point)
        slot = slots.get(point.label)
        kind, radius = ("other", 2.6) if slot is None else (f"s{slot}", 4.6 if slot == 0 else 3.6)
        parts.append(
            f'<g class="{kind}"><circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" '
            f'data-tip="{escape(_tip(point, base))}"/></g>'
        )
    named = [(*place(point), point.label) for point in points if point.label in slots]
    return svg([*parts, *_labels(named, slots)], title)


def _steps(places: Sequence[tuple[float, float]]) -> str:
    """Level until a slower one is smaller: nothing is known of what lies between two codecs."""
    corners: list[tuple[float, float]] = []
    for x, y in places:
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def _tip(point: TradeOff, base: str) -> str:
    return (
        f"{point.label} · {point.bd_rate_percent:+.1f} % bits against {base} · "
        f"{point.decode_ms:.3g} CPU ms a frame"
    )


def _labels(named: Sequence[tuple[float, float, str]], slots: Mapping[str, int]) -> Iterator[str]:
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
        yield (
            f'<text class="name s{slots[label]}" x="{beside:.1f}" y="{box[3] - 2:.1f}" '
            f'text-anchor="{anchor}">{escape(label)}</text>'
        )


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
