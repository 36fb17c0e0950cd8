"""Piecewise cubic interpolation of few points: PCHIP (keeps monotonic data monotonic) and Akima.

Cubic Hermite pieces that differ only in how the slope at a point follows from its neighbours:
Fritsch and Butland, "A method for constructing local monotone piecewise cubic interpolants" (SIAM
J. Sci. Stat. Comput. 5, 1984), and Akima, "A new method of interpolation and smooth curve fitting
based on local procedures" (J. ACM 17, 1970). Pure NumPy: a curve has about six points, and
importing SciPy takes longer than all the arithmetic of an evaluation.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_BISECTIONS = 200  # more than any float interval needs; it ends as soon as nothing moves


@dataclass(frozen=True, slots=True, eq=False)
class Cubic:
    """A curve through ``(x, y)`` with given slopes; x rises strictly and bounds the curve."""

    x: Array
    y: Array
    slopes: Array

    def at(self, position: Array) -> Array:
        """Values at these positions; positions outside are clamped to the nearer end."""
        inside = np.clip(position, self.x[0], self.x[-1])
        piece = np.clip(np.searchsorted(self.x, inside, side="right") - 1, 0, len(self.x) - 2)
        return np.asarray(self._piece(piece, inside), dtype=np.float64)

    def value(self, position: float) -> float:
        """Value at one position."""
        return float(self.at(np.array([position]))[0])

    def slope(self, position: float) -> float:
        """Derivative at a position, from the piece to its right."""
        inside = min(max(position, float(self.x[0])), float(self.x[-1]))
        index = int(np.clip(np.searchsorted(self.x, inside, side="right") - 1, 0, len(self.x) - 2))
        _, linear, square, cube = self._coefficients(index)
        step = inside - float(self.x[index])
        return float(linear + step * (2 * square + step * 3 * cube))

    def integral(self, low: float, high: float) -> float:
        """Area under the curve; raises ``ValueError`` beyond its ends."""
        if not self.x[0] <= low <= high <= self.x[-1]:
            raise ValueError(f"{low} to {high} is outside the curve, {self.x[0]} to {self.x[-1]}")
        left = np.clip(self.x[:-1], low, high) - self.x[:-1]
        right = np.clip(self.x[1:], low, high) - self.x[:-1]
        pieces = np.arange(len(self.x) - 1)
        areas = np.zeros(len(pieces))
        for power, coefficient in enumerate(self._coefficients(pieces), start=1):
            areas += coefficient * (right**power - left**power) / power
        return float(areas.sum())

    def inverse(self, value: float) -> float:
        """Position at which a rising curve has a value; clamped to its ends."""
        if value <= self.y[0]:
            return float(self.x[0])
        if value >= self.y[-1]:
            return float(self.x[-1])
        index = int(np.searchsorted(self.y, value, side="right")) - 1
        low, high = float(self.x[index]), float(self.x[index + 1])
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if not low < middle < high:
                break
            low, high = (middle, high) if self.value(middle) <= value else (low, middle)
        return (low + high) / 2

    def _piece(self, index: npt.NDArray[np.intp], position: Array) -> Array:
        constant, linear, square, cube = self._coefficients(index)
        step = position - self.x[index]
        return np.asarray(constant + step * (linear + step * (square + step * cube)))

    def _coefficients(self, index: int | npt.NDArray[np.intp]) -> tuple[Array, Array, Array, Array]:
        """Coefficients of powers of x − x_index in the pieces right of ``index``."""
        width = self.x[index + 1] - self.x[index]
        rise = (self.y[index + 1] - self.y[index]) / width
        left, right = self.slopes[index], self.slopes[index + 1]
        square = (3 * rise - 2 * left - right) / width
        cube = (left + right - 2 * rise) / width**2
        return self.y[index], left, square, cube


def pchip(x: Array, y: Array) -> Cubic:
    """A curve that is monotonic wherever its points are."""
    widths, rises = _steps(x, y)
    if len(x) == 2:
        return Cubic(x, y, np.repeat(rises, 2))
    slopes = np.zeros_like(y)
    left, right = 2 * widths[1:] + widths[:-1], widths[1:] + 2 * widths[:-1]
    before, after = rises[:-1], rises[1:]
    same = before * after > 0
    slopes[1:-1][same] = (left + right)[same] / (
        left[same] / before[same] + right[same] / after[same]
    )
    slopes[0] = _end_slope(widths[0], widths[1], rises[0], rises[1])
    slopes[-1] = _end_slope(widths[-1], widths[-2], rises[-1], rises[-2])
    return Cubic(x, y, slopes)


def akima(x: Array, y: Array) -> Cubic:
    """A curve whose slopes follow the side that bends less."""
    _, rises = _steps(x, y)
    if len(x) == 2:
        return Cubic(x, y, np.repeat(rises, 2))
    first, last = 2 * rises[0] - rises[1], 2 * rises[-1] - rises[-2]
    padded = np.concatenate(([2 * first - rises[0], first], rises, [last, 2 * last - rises[-1]]))
    bends = np.abs(np.diff(padded))
    after, before = bends[2:], bends[:-2]
    both = after + before
    slopes = (padded[3:] + padded[:-3]) / 2
    bent = both > 1e-9 * both.max(initial=0.0)
    slopes[bent] = (after[bent] * padded[1:-2][bent] + before[bent] * padded[2:-1][bent]) / both[
        bent
    ]
    return Cubic(x, y, slopes)


def _steps(x: Array, y: Array) -> tuple[Array, Array]:
    if len(x) < 2 or len(x) != len(y):
        raise ValueError(f"a curve needs two points or more, not {len(x)} and {len(y)}")
    widths = np.diff(x)
    if not (widths > 0).all():
        raise ValueError(f"points must rise: {x}")
    return widths, np.diff(y) / widths


def _end_slope(width: float, next_width: float, rise: float, next_rise: float) -> float:
    """Three-point slope at an end, limited so that the curve does not overshoot."""
    slope = ((2 * width + next_width) * rise - width * next_rise) / (width + next_width)
    if slope * rise <= 0:
        return 0.0
    if rise * next_rise <= 0 and abs(slope) > 3 * abs(rise):
        return 3 * rise
    return slope
