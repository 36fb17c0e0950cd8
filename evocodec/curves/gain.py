"""Gain in bits over a reference at equal quality."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import geometric_mean


@dataclass(frozen=True, slots=True)
class Gain:
    """Bits saved over a reference at equal quality, in per cent: over all clips, and per clip.

    ``mean_percent`` is by the geometric mean of the ratios, as ``bitrate_mbps`` is;
    ``total_percent`` by the sum of the bits, as ``compression_ratio`` is.
    """

    mean_percent: float
    total_percent: float
    ratios: tuple[float, ...]


def gain_over(reference: Mapping[str, float], candidate: Mapping[str, float]) -> Gain:
    """Compare bits by clip; raises ``ValueError`` when the clips differ or there are none."""
    if not reference or set(reference) != set(candidate):
        raise ValueError(f"clips differ: {sorted(reference)} and {sorted(candidate)}")
    ratios = tuple(candidate[clip] / reference[clip] for clip in sorted(reference))
    mean = geometric_mean(ratios)
    total = math.fsum(candidate.values()) / math.fsum(reference.values())
    return Gain(100.0 * (1.0 - mean), 100.0 * (1.0 - total), ratios)
