"""Per-frame quality series as blobs: an event holds the hash of a blob and stays small."""

from collections.abc import Callable
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from evocodec.domain.errors import UserError
from evocodec.domain.results import FrameSeries, RatePoint

_SERIES: TypeAdapter[FrameSeries] = TypeAdapter(FrameSeries)


def series_to_json(series: FrameSeries) -> bytes:
    """Return the JSON that ``series_from_json`` reads; every digit is kept."""
    return _SERIES.dump_json(series)


def series_from_json(data: bytes) -> FrameSeries:
    """Read a blob; raises ``UserError`` when it holds something else."""
    try:
        return _SERIES.validate_json(data)
    except ValidationError as error:
        raise UserError(
            "a blob that should hold per-frame figures holds something else; a newer evocodec may "
            "have written it: upgrade evocodec and try again"
        ) from error


def store_series(point: RatePoint, put: Callable[[bytes], str]) -> RatePoint:
    """Store the series of a point with ``put``; returns the point with the blob's hash instead."""
    if point.series is None:
        return point
    return replace(point, series=None, series_sha256=put(series_to_json(point.series)))
