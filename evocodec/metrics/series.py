"""Per-frame quality series as blobs: an event holds the hash of a blob and stays small."""

from collections.abc import Callable
from dataclasses import replace

from pydantic import TypeAdapter

from evocodec.domain.results import FrameSeries, RatePoint

_SERIES: TypeAdapter[FrameSeries] = TypeAdapter(FrameSeries)


def series_to_json(series: FrameSeries) -> bytes:
    """Return per-frame figures as JSON, a blob of its own; every digit is kept."""
    return _SERIES.dump_json(series)


def store_series(point: RatePoint, put: Callable[[bytes], str]) -> RatePoint:
    """Give the point's series to ``put``, and return the point with the name in its place."""
    if point.series is None:
        return point
    return replace(point, series=None, series_sha256=put(series_to_json(point.series)))
