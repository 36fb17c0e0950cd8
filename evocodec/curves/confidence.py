"""Confidence intervals of a mean over clips, by a bootstrap that resamples clips.

The percentile bootstrap (Efron, 1979), expanded for few clips as Hesterberg proposes ("What
Teachers Should Know About the Bootstrap", The American Statistician 69, 2015, section 4). Plain
percentiles of few values are too narrow, because resampled values have a variance that is (n − 1) ÷
n too small, and because a normal quantile is used instead of Student's. With up to eight clips, all
resamples are enumerated with their exact probabilities; with more, a fixed seed draws them. The
same clips always give the same interval.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from evocodec.domain.results import Interval

_MOST_ENUMERATED = 8  # clips: 6435 resamples that differ
_DRAWS = 20_000
_SEED = 20_150_301

_Array = npt.NDArray[np.float64]


def mean_interval(values: Sequence[float], level: float) -> Interval | None:
    """Confidence interval of the mean of such values, in their own unit; None for fewer than two.

    Never wider than the values themselves: with two or three values it reaches from the lowest to
    the highest. Raises ``ValueError`` for a level outside 0…1 or a value that is not a number.
    """
    if not 0 < level < 1:
        raise ValueError(f"a confidence level must be between 0 and 1, not {level}")
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"an interval needs numbers: {list(values)}")
    if len(values) < 2:
        return None
    means, weights = _resampled_means(np.sort(np.asarray(values, dtype=np.float64)))
    order = np.argsort(means, kind="stable")
    tail = _expanded_tail(len(values), level)
    low, high = _quantiles(means[order], weights[order], tail)
    return Interval(low=low, high=high, level=level, clips=len(values))


def geometric_interval(ratios: Sequence[float], level: float) -> Interval | None:
    """Confidence interval of the geometric mean of ratios; None for fewer than two clips."""
    interval = mean_interval([math.log(ratio) for ratio in ratios], level)
    if interval is None:
        return None
    return Interval(math.exp(interval.low), math.exp(interval.high), level, interval.clips)


def gain_interval(
    bits: Mapping[str, float], reference_bits: Mapping[str, float], level: float
) -> Interval | None:
    """Confidence interval of the gain over a reference, in per cent fewer bits; None for one clip.

    Both mappings are bits at equal quality by clip. ``low`` is the worse end: below zero the
    candidate may need more bits than the reference. Clips are compared in pairs, so that a clip
    that is hard for both does not widen the interval. Raises ``ValueError`` when the clips differ.
    """
    if set(bits) != set(reference_bits):
        raise ValueError(f"clips differ: {sorted(bits)} and {sorted(reference_bits)}")
    ratios = [bits[clip] / reference_bits[clip] for clip in sorted(bits)]
    interval = geometric_interval(ratios, level)
    if interval is None:
        return None
    return Interval(
        low=100 * (1 - interval.high),
        high=100 * (1 - interval.low),
        level=level,
        clips=interval.clips,
    )


def _expanded_tail(count: int, level: float) -> float:
    """Return the probability to cut off at either end, expanded for ``count`` values."""
    return NormalDist().cdf(-math.sqrt(count / (count - 1)) * student_quantile(level, count - 1))


def student_quantile(level: float, df: int) -> float:
    """Return t with P(|T| < t) = ``level``, T Student's with ``df`` degrees of freedom.

    From the closed form for integer degrees (Abramowitz and Stegun, 26.7.3 and 26.7.4), solved by
    bisection over the angle whose tangent is t ÷ √df.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(64):
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, df) < level else (low, angle)
    return math.sqrt(df) * math.tan((low + high) / 2)


def _within(angle: float, df: int) -> float:
    """P(|T| < √df · tan(angle))."""
    cosine = math.cos(angle)
    odd = df % 2
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(odd, df - 1, 2):
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def _resampled_means(values: _Array) -> tuple[_Array, _Array]:
    """Return means of resamples, and their probabilities."""
    count = len(values)
    if count <= _MOST_ENUMERATED:
        found = list(_multisets(count, count))
        times = np.array([counts for counts, _ in found], dtype=np.float64)
        weights = np.array([ways for _, ways in found], dtype=np.float64) / float(count) ** count
        return times @ values / count, weights
    drawn = np.random.default_rng(_SEED).integers(0, count, size=(_DRAWS, count))
    return values[drawn].mean(axis=1), np.full(_DRAWS, 1 / _DRAWS)


def _multisets(kinds: int, size: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield how often each of ``kinds`` is drawn in ``size`` draws, and in how many orders."""
    if kinds == 1:
        yield (size,), 1
        return
    for first in range(size + 1):
        for rest, ways in _multisets(kinds - 1, size - first):
            yield (first, *rest), ways * math.comb(size, first)


def _quantiles(means: _Array, weights: _Array, tail: float) -> tuple[float, float]:
    # Rounded sums of weights must not step over an end: the tolerance is far below any weight.
    below = np.cumsum(weights)
    above = np.cumsum(weights[::-1])[::-1]
    low = means[int(np.argmax(below > tail + 1e-12))]
    high = means[len(means) - 1 - int(np.argmax(above[::-1] > tail + 1e-12))]
    return float(low), float(high)
