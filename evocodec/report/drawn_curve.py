"""Drawn curves: the measured points of a curve, and the line that BD-rate integrates."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from evocodec.curves.interpolation import pchip
from evocodec.domain.results import Metric, RatePoint, RdCurve
from evocodec.domain.video import StreamInfo

_SAMPLES = 48


@dataclass(frozen=True, slots=True)
class DrawnCurve:
    """Measured points and a line through them; rates in kbit/s, qualities as ``Quality.value``.

    ``interpolated`` is False where the points are no usable curve (fewer than two, or not rising):
    the line then joins them as they are, and should be dotted.
    """

    points: tuple[RatePoint, ...]
    rates_kbps: tuple[float, ...]
    qualities: tuple[float, ...]
    line_rates_kbps: tuple[float, ...]
    line_qualities: tuple[float, ...]
    interpolated: bool


def drawn_curve(curve: RdCurve, metric: Metric, stream: StreamInfo) -> DrawnCurve:
    """Points that have this metric, and the line between them."""
    known = [
        (point, value)
        for point in curve.points
        if (value := point.quality.value(metric)) is not None
    ]
    rates = tuple(kbit_per_second(point.bits, stream) for point, _ in known)
    qualities = tuple(value for _, value in known)
    line = _interpolated(qualities, rates)
    line_qualities, line_rates = line or (qualities, rates)
    return DrawnCurve(
        points=tuple(point for point, _ in known),
        rates_kbps=rates,
        qualities=qualities,
        line_rates_kbps=line_rates,
        line_qualities=line_qualities,
        interpolated=line is not None,
    )


def kbit_per_second(bits: float, stream: StreamInfo) -> float:
    """Mean rate of a stream of so many bits."""
    return bits * float(stream.fps) / stream.frame_count / 1000


def _interpolated(
    qualities: Sequence[float], rates: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """PCHIP of log rate over quality; None where the points do not rise in both."""
    pairs = sorted(zip(qualities, rates, strict=True))
    values, by_value = [value for value, _ in pairs], [rate for _, rate in pairs]
    if len(pairs) < 2 or by_value[0] <= 0 or not (_rises(values) and _rises(by_value)):
        return None
    smooth = np.linspace(values[0], values[-1], _SAMPLES)
    curve = pchip(np.array(values), np.log10(np.array(by_value)))
    return tuple(smooth.tolist()), tuple((10 ** curve.at(smooth)).tolist())


def _rises(values: Sequence[float]) -> bool:
    return all(later > earlier for earlier, later in pairwise(values))
