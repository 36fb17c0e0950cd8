"""Stores in memory, for tests and for commands that keep nothing."""

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from evocodec.domain.events import Event
from evocodec.store.blobs import check_name, missing_blob
from evocodec.store.event_json import event_from_json, event_to_json
from evocodec.store.records import ExperimentRecord, check_experiment_id


@dataclass(frozen=True, slots=True)
class _Row:
    run_id: str
    candidate_id: str
    kind: str
    body: str


class MemoryLedger:
    """A Ledger that ends with the process. Events go through JSON, as in every other ledger."""

    def __init__(self) -> None:
        # Two threads with one key must not both find it absent.
        self._lock = threading.Lock()
        self._rows: list[_Row] = []
        self._positions: dict[tuple[str, str], int] = {}
        self._closed = False

    def record(self, event: Event) -> bool:
        """See Ledger."""
        row = _Row(event.run_id, event.candidate_id, event.kind, event_to_json(event))
        with self._lock:
            self._check_open()
            name = (event.run_id, event.key)
            if name in self._positions:
                return False
            self._rows.append(row)
            self._positions[name] = len(self._rows)
            return True

    def events(
        self,
        run_id: str,
        *,
        after: int = 0,
        candidate_id: str | None = None,
        kinds: Sequence[str] = (),
    ) -> Iterator[tuple[int, Event]]:
        """See Ledger."""
        with self._lock:
            self._check_open()
            rows = self._rows[max(after, 0) :]
        for position, row in enumerate(rows, start=max(after, 0) + 1):
            if row.run_id != run_id or (kinds and row.kind not in kinds):
                continue
            if candidate_id is not None and row.candidate_id != candidate_id:
                continue
            event = event_from_json(row.body)
            if event is not None:
                yield position, event

    def get(self, run_id: str, key: str) -> Event | None:
        """See Ledger."""
        with self._lock:
            self._check_open()
            position = self._positions.get((run_id, key))
            return None if position is None else event_from_json(self._rows[position - 1].body)

    def runs(self) -> tuple[str, ...]:
        """See Ledger."""
        with self._lock:
            self._check_open()
            return tuple(reversed(dict.fromkeys(row.run_id for row in self._rows)))

    def close(self) -> None:
        """See Ledger."""
        with self._lock:
            self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the ledger in memory is closed")


class MemoryBlobStore:
    """A BlobStore that ends with the process."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        """See BlobStore."""
        sha256 = hashlib.sha256(data).hexdigest()
        self._blobs[sha256] = bytes(data)
        return sha256

    def get(self, sha256: str) -> bytes:
        """See BlobStore."""
        check_name(sha256)
        try:
            return self._blobs[sha256]
        except KeyError:
            raise missing_blob(sha256, "memory") from None

    def has(self, sha256: str) -> bool:
        """See BlobStore."""
        check_name(sha256)
        return sha256 in self._blobs


class MemoryRecordStore:
    """A RecordStore that ends with the process."""

    def __init__(self) -> None:
        self._records: dict[str, str] = {}

    def put(self, record: ExperimentRecord) -> None:
        """See RecordStore."""
        check_experiment_id(record["experiment_id"])
        self._records[record["experiment_id"]] = json.dumps(record, allow_nan=False)

    def get(self, experiment_id: str) -> ExperimentRecord | None:
        """See RecordStore."""
        check_experiment_id(experiment_id)
        text = self._records.get(experiment_id)
        return None if text is None else cast("ExperimentRecord", json.loads(text))

    def latest(self, n: int) -> tuple[ExperimentRecord, ...]:
        """See RecordStore."""
        records = [cast("ExperimentRecord", json.loads(text)) for text in self._records.values()]
        records.sort(key=lambda item: (item["timestamp"], item["experiment_id"]), reverse=True)
        return tuple(records[: max(n, 0)])
