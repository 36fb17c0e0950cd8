"""Store metrics: duration and failures of every call."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from evocodec.domain.errors import InfrastructureFailure
from evocodec.telemetry import labels
from evocodec.telemetry.labels import Family

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class StoreMetrics:
    """Times of ledger, blobs and records in this process; any thread may use it.

    They begin at zero with each process: what a store took yesterday is in no event.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        histogram = Histogram(
            "evocodec_store_seconds",
            "Wall time of one call of a store",
            ("store", "operation"),
            buckets=_BUCKETS,
            registry=registry,
        )
        errors = Counter(
            "evocodec_store_errors",
            "Calls of a store that failed for no fault of the caller",
            ("store", "operation"),
            registry=registry,
        )
        operations = {name for names in labels.STORES.values() for name in names}
        known = {"store": tuple(labels.STORES), "operation": tuple(sorted(operations))}
        # Not every store has every operation, so the pairs are made here.
        self._seconds = Family(histogram, known, from_zero=False)
        self._errors = Family(errors, known, from_zero=False)
        for store, own in labels.STORES.items():
            for operation in own:
                self._seconds.of(store, operation)
                self._errors.of(store, operation)
        # A scrape reads this while calls come and go; keyed by a token of each call.
        self._writing: dict[object, float] = {}
        lag = Gauge(
            "evocodec_ledger_lag_seconds",
            "Age of the oldest event that the ledger has not confirmed; 0 when it has all",
            registry=registry,
        )
        lag.set_function(self._lag_seconds)

    @contextmanager
    def timed(self, store: str, operation: str) -> Iterator[None]:
        """Measure one call, whether it succeeds or not."""
        begun, token = time.monotonic(), object()
        if (store, operation) == ("ledger", "record"):
            self._writing[token] = begun
        try:
            yield
        except InfrastructureFailure:
            self._errors.of(store, operation).inc()
            raise
        finally:
            self._writing.pop(token, None)
            self._seconds.of(store, operation).observe(time.monotonic() - begun)

    def _lag_seconds(self) -> float:
        begun = min(tuple(self._writing.values()), default=None)
        return 0.0 if begun is None else time.monotonic() - begun


class LogCounter(logging.Handler):
    """Counts warnings and errors in the log; attach it to the ``evocodec`` logger."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(logging.WARNING)
        counter = Counter(
            "evocodec_log_messages", "Warnings and errors logged", ("level",), registry=registry
        )
        self._messages = Family(counter, {"level": labels.LEVELS})

    def emit(self, record: logging.LogRecord) -> None:
        """Count one message."""
        self._messages.of(record.levelname.lower()).inc()
