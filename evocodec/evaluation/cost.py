"""Encode and decode time of a result, relative to the anchor's."""

from collections.abc import Mapping
from statistics import geometric_mean

from evocodec.curves.rd_curve import nearest_point
from evocodec.domain.results import Cost, RdCurve


def time_ratios(
    curves: Mapping[str, RdCurve],
    operating_db: Mapping[str, float],
    reference: Mapping[str, Cost],
) -> tuple[float | None, float | None]:
    """CPU seconds per frame relative to the anchor's, to encode and to decode.

    The geometric mean over clips, at the rate point of each nearest the operating quality; None
    where a clip has no time to compare.
    """
    pairs = [
        (nearest_point(curve, operating_db[clip]).cost, reference.get(clip, Cost()))
        for clip, curve in curves.items()
    ]
    encode = [(ours.encode_cpu_seconds, x.encode_cpu_seconds, ours, x) for ours, x in pairs]
    decode = [(ours.decode_cpu_seconds, x.decode_cpu_seconds, ours, x) for ours, x in pairs]
    return _mean_ratio(encode), _mean_ratio(decode)


def _mean_ratio(times: list[tuple[float, float, Cost, Cost]]) -> float | None:
    if not times or any(
        min(ours, theirs) <= 0 or min(cost.frames, anchor.frames) <= 0
        for ours, theirs, cost, anchor in times
    ):
        return None
    return geometric_mean(
        (ours / cost.frames) / (theirs / anchor.frames) for ours, theirs, cost, anchor in times
    )
