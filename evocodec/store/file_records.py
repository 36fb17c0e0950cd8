"""Experiment records in a folder, one JSON file each."""

import json
import logging
from pathlib import Path
from typing import cast

from evocodec.domain.errors import InfrastructureFailure
from evocodec.regular_files import RECORD_BYTES, read_regular
from evocodec.store.blobs import write_atomically
from evocodec.store.records import ExperimentRecord, check_experiment_id

_log = logging.getLogger(__name__)


class FileRecordStore:
    """A RecordStore in a folder: one ``<experiment_id>.json`` each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The timestamp of an id never changes, so a file's is read once.
        self._timestamps: dict[str, str] = {}

    def put(self, record: ExperimentRecord) -> None:
        """See RecordStore."""
        path = self._path(record["experiment_id"])
        data = json.dumps(record, indent=2, allow_nan=False, ensure_ascii=True).encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data + b"\n")
        except OSError as error:
            raise InfrastructureFailure(
                f"record {path} cannot be written: {error}. Check free space and permissions"
            ) from error
        self._timestamps[record["experiment_id"]] = record["timestamp"]

    def get(self, experiment_id: str) -> ExperimentRecord | None:
        """See RecordStore."""
        path = self._path(experiment_id)
        try:
            return _parse(read_regular(path, RECORD_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InfrastructureFailure(f"record {path} cannot be read: {error}") from error

    def latest(self, n: int) -> tuple[ExperimentRecord, ...]:
        """See RecordStore. A file that is no record is skipped with a log line."""
        if n <= 0:
            return ()
        found: list[tuple[str, str]] = []
        for path in sorted(self.folder.glob("*.json")):
            timestamp = self._timestamp(path)
            if timestamp:
                found.append((timestamp, path.stem))
        newest = sorted(found, reverse=True)[:n]
        records = (self.get(name) for _, name in newest)
        return tuple(record for record in records if record is not None)

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all records, the oldest first."""
        paths = self.folder.glob("*.json")
        found = ((self._timestamp(path), path.stem) for path in paths)
        return tuple(name for timestamp, name in sorted(found) if timestamp)

    def _timestamp(self, path: Path) -> str:
        name = path.stem
        if name not in self._timestamps:
            try:
                self._timestamps[name] = _parse(read_regular(path, RECORD_BYTES))["timestamp"]
            except (OSError, ValueError) as error:
                _log.warning("skipping %s, which is no experiment record: %s", path, error)
                self._timestamps[name] = ""
        return self._timestamps[name]

    def _path(self, experiment_id: str) -> Path:
        check_experiment_id(experiment_id)
        return self.folder / f"{experiment_id}.json"


def _parse(data: bytes) -> ExperimentRecord:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    missing = {"experiment_id", "timestamp", "experiments"} - value.keys()
    if missing:
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    return cast("ExperimentRecord", value)
