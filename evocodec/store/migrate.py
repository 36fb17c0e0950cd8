"""Migration between kinds of stores: copies and verifies, never deletes.

Blobs go first, because events rely on them, then events, then records. Everything is identified by
its content or key, so an interrupted migration continues where it stopped, and a repeated one
copies only what is new.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, Protocol

from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.domain.events import Event
from evocodec.store.blobs import BlobStore
from evocodec.store.event_json import event_to_json
from evocodec.store.ledger import Ledger
from evocodec.store.records import ExperimentRecord, RecordStore

_HASH = re.compile(r"[0-9a-f]{64}")


class CountedLedger(Ledger, Protocol):
    """A ledger that also counts what it cannot read."""

    def count(self, run_id: str) -> int:
        """Return how many events the run has, of kinds that are known here or not."""
        ...


class ListedBlobs(BlobStore, Protocol):
    """A blob store that can be looked through."""

    def names(self) -> Iterator[str]:
        """Iterate over the names of all blobs."""
        ...


class ListedRecords(RecordStore, Protocol):
    """A record store that can be looked through."""

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all records."""
        ...


@dataclass(frozen=True, slots=True)
class Stores:
    """One side of a migration."""

    ledger: CountedLedger
    blobs: ListedBlobs
    records: ListedRecords


@dataclass(frozen=True, slots=True)
class Moved:
    """One run, or all blobs or records: how many there are, and how many had to be copied.

    ``sha256`` is that of a run's events, a line of JSON each, the same on both sides.
    """

    kind: Literal["run", "blobs", "records"]
    name: str
    found: int
    copied: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Migration:
    """Copied data, or, in a dry run, data that would be copied."""

    dry_run: bool
    moved: tuple[Moved, ...]

    @property
    def copied(self) -> int:
        """Number of blobs, events and records."""
        return sum(result.copied for result in self.moved)


def migrate(
    source: Stores,
    target: Stores,
    *,
    runs: Sequence[str] = (),
    dry_run: bool = False,
    on_moved: Callable[[Moved], None] = lambda _moved: None,
) -> Migration:
    """Copy these runs with their blobs and records; without names, everything that is there.

    ``tell`` is called after each run, and after the blobs and the records.

    Raises:
        UserError: a run is not there, has events that this version does not know, or has gone on
            in another way on the other side.
        InfrastructureFailure: a store failed, or what was copied is not what is read back.
    """
    known = source.ledger.runs()
    if missing := set(runs) - set(known):
        raise UserError(f"there is no run {', '.join(sorted(missing))} to migrate; see evocodec ls")
    # Oldest first: runs are listed by their first events.
    wanted = [run_id for run_id in reversed(known) if not runs or run_id in runs]
    histories = {run_id: _history(source.ledger, run_id) for run_id in wanted}
    ids = _record_ids(source, wanted if runs else None)
    names = _referred(source, histories, ids) if runs else source.blobs.names()
    moved: list[Moved] = []

    def done(result: Moved) -> None:
        moved.append(result)
        on_moved(result)

    done(_move_blobs(source, target, names, dry_run=dry_run))
    for run_id, history in histories.items():
        done(_move_run(target.ledger, run_id, history, dry_run=dry_run))
    done(_move_records(source, target, ids, dry_run=dry_run))
    return Migration(dry_run, tuple(moved))


def _move_blobs(source: Stores, target: Stores, names: Iterator[str], *, dry_run: bool) -> Moved:
    found = copied = 0
    for name in names:
        found += 1
        if target.blobs.has(name):
            continue
        copied += 1
        if not dry_run:
            target.blobs.put(source.blobs.get(name))
            target.blobs.get(name)  # reading checks the bytes against their name
    return Moved("blobs", "", found, copied)


def _move_run(ledger: CountedLedger, run_id: str, history: list[Event], *, dry_run: bool) -> Moved:
    there = _history(ledger, run_id)
    for position, (mine, other) in enumerate(zip_longest(history, there), start=1):
        if other is None:
            break
        if mine is None or event_to_json(mine) != event_to_json(other):
            raise UserError(
                f"{run_id} is on both sides and differs from event {position} on: it went on in "
                "the place that it would be copied to. Nothing of it was copied; migrate it the "
                "other way, or name other runs with --run"
            )
    sha256, copied = _digest(history), len(history) - len(there)
    if dry_run or not copied:
        return Moved("run", run_id, len(history), copied, sha256)
    for event in history[len(there) :]:
        ledger.record(event)
    if _digest(_history(ledger, run_id)) != sha256:
        raise InfrastructureFailure(
            f"{run_id} reads differently than it was written: does another process write to it? "
            "Stop that, and migrate again"
        )
    return Moved("run", run_id, len(history), copied, sha256)


def _move_records(source: Stores, target: Stores, ids: Sequence[str], *, dry_run: bool) -> Moved:
    copied = 0
    for experiment_id in ids:
        record = source.records.get(experiment_id)
        if record is None or _same(record, target.records.get(experiment_id)):
            continue
        copied += 1
        if dry_run:
            continue
        target.records.put(record)
        if not _same(record, target.records.get(experiment_id)):
            raise InfrastructureFailure(
                f"record {experiment_id} reads differently than it was written; migrate again"
            )
    return Moved("records", "", len(ids), copied)


def _history(ledger: CountedLedger, run_id: str) -> list[Event]:
    # Counted first: a run that goes on meanwhile may only have more.
    count = ledger.count(run_id)
    events = [event for _, event in ledger.events(run_id)]
    if len(events) < count:
        raise UserError(
            f"{run_id} has {count - len(events)} events of kinds that this evocodec does not know; "
            "migrate with the newer one that wrote them"
        )
    return events


def _record_ids(source: Stores, runs: Sequence[str] | None) -> list[str]:
    ids = list(source.records.ids())
    if runs is None:
        return ids
    found = ((experiment_id, source.records.get(experiment_id)) for experiment_id in ids)
    return [name for name, record in found if record and record.get("run_id") in runs]


def _referred(
    source: Stores, histories: dict[str, list[Event]], ids: Sequence[str]
) -> Iterator[str]:
    """The blobs that these runs name anywhere: programs, prompts, replies, secrets, series."""
    names: set[str] = set()
    for history in histories.values():
        names.update(name for event in history for name in _HASH.findall(event_to_json(event)))
    for experiment_id in ids:
        names.update(_HASH.findall(json.dumps(source.records.get(experiment_id))))
    return (name for name in sorted(names) if source.blobs.has(name))


def _digest(events: Sequence[Event]) -> str:
    digest = hashlib.sha256()
    for event in events:
        digest.update(event_to_json(event).encode() + b"\n")
    return digest.hexdigest()


def _same(record: ExperimentRecord, other: ExperimentRecord | None) -> bool:
    return other is not None and _canonical(record) == _canonical(other)


def _canonical(value: Any) -> Any:
    # A store with one kind of number gives 4 back for 4.0, and no store keeps lone surrogates.
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
