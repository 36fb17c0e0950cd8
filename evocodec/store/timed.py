"""Timed stores: measure every call of the store that they wrap."""

from collections.abc import Iterator, Sequence

from evocodec.domain.events import Event
from evocodec.store.blobs import BlobStore
from evocodec.store.ledger import Ledger
from evocodec.store.records import ExperimentRecord, RecordStore
from evocodec.telemetry.stores import StoreMetrics


class TimedLedger:
    """A Ledger around a ledger. Of an iteration, the first step is measured: the query."""

    def __init__(self, ledger: Ledger, metrics: StoreMetrics) -> None:
        self._ledger = ledger
        self._metrics = metrics

    def record(self, event: Event) -> bool:
        """See Ledger."""
        with self._metrics.timed("ledger", "record"):
            return self._ledger.record(event)

    def events(
        self,
        run_id: str,
        *,
        after: int = 0,
        candidate_id: str | None = None,
        kinds: Sequence[str] = (),
    ) -> Iterator[tuple[int, Event]]:
        """See Ledger."""
        found = self._ledger.events(run_id, after=after, candidate_id=candidate_id, kinds=kinds)
        with self._metrics.timed("ledger", "events"):
            first = next(found, None)
        if first is not None:
            yield first
            yield from found

    def get(self, run_id: str, key: str) -> Event | None:
        """See Ledger."""
        with self._metrics.timed("ledger", "get"):
            return self._ledger.get(run_id, key)

    def runs(self) -> tuple[str, ...]:
        """See Ledger."""
        with self._metrics.timed("ledger", "runs"):
            return self._ledger.runs()

    def close(self) -> None:
        """See Ledger."""
        self._ledger.close()


class TimedBlobs:
    """A BlobStore around a blob store."""

    def __init__(self, blobs: BlobStore, metrics: StoreMetrics) -> None:
        self._blobs = blobs
        self._metrics = metrics

    def put(self, data: bytes) -> str:
        """See BlobStore."""
        with self._metrics.timed("blobs", "put"):
            return self._blobs.put(data)

    def get(self, sha256: str) -> bytes:
        """See BlobStore."""
        with self._metrics.timed("blobs", "get"):
            return self._blobs.get(sha256)

    def has(self, sha256: str) -> bool:
        """See BlobStore."""
        with self._metrics.timed("blobs", "has"):
            return self._blobs.has(sha256)


class TimedRecords:
    """A RecordStore around a record store."""

    def __init__(self, records: RecordStore, metrics: StoreMetrics) -> None:
        self._records = records
        self._metrics = metrics

    def put(self, record: ExperimentRecord) -> None:
        """See RecordStore."""
        with self._metrics.timed("records", "put"):
            self._records.put(record)

    def get(self, experiment_id: str) -> ExperimentRecord | None:
        """See RecordStore."""
        with self._metrics.timed("records", "get"):
            return self._records.get(experiment_id)

    def latest(self, n: int) -> tuple[ExperimentRecord, ...]:
        """See RecordStore."""
        with self._metrics.timed("records", "latest"):
            return self._records.latest(n)
