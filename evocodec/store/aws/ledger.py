"""A ledger in a DynamoDB table, for a controller that may be replaced at any time.

Two items are written for an event, in one transaction: its key, which must be new in the run, and
the event at the next position, which must be free. A position is only ever taken when the one
before it is, so positions of a run are 1, 2, 3 … in the order of commit, and a reader that has seen
n is never shown a newer event at or below n. No counter is shared between runs: what one run
writes never delays another. All reads are consistent.
"""

import hashlib
import random
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.events import Event
from evocodec.store.aws.client import AwsClient, Refused
from evocodec.store.aws.tables import MAX_ITEM_BYTES, TableSpec, expiry
from evocodec.store.blobs import BlobStore
from evocodec.store.event_json import event_from_json, event_to_json

Item: TypeAlias = dict[str, Any]

_RUNS = "runs"
_FIRST, _LAST = "E#", "E#~"
_SHORT, _LONG = "K#", "H#"
_HIGHEST = "\U0010ffff"  # after every other character, in UTF-8 too
_NEAR = 100  # so many events of others are read in less time than another request takes
_LONGEST_KEY = 900
_RACES = 100


def ledger_table(name: str) -> TableSpec:
    """The table's keys."""
    return TableSpec(name, "run", "item")


class DynamoLedger:
    """A Ledger in a table that exists; bodies that are too large for an item are kept as blobs.

    ``ttl_days``: how long events stay; 0 means for ever.
    """

    def __init__(self, client: AwsClient, table: str, blobs: BlobStore, *, ttl_days: float) -> None:
        self._client = client
        self._table = table
        self._blobs = blobs
        self._ttl_days = ttl_days
        self._closed = False
        # Threads that record in one run would race for each position, and all but one lose.
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._positions: dict[str, int] = {}
        self._unanswered: dict[tuple[str, str, str], str] = {}

    def record(self, event: Event) -> bool:
        """See Ledger."""
        self._check_open()
        body = event_to_json(event)
        with self._guard:
            lock = self._locks.setdefault(event.run_id, threading.Lock())
        with lock:
            return self._record(event, body)

    def _record(self, event: Event, body: str) -> bool:
        name = (event.run_id, event.key, body)
        # A write whose answer was lost may have been carried out: when it is repeated, the token
        # tells our own earlier write from that of another caller.
        token = self._unanswered.get(name) or secrets.token_hex(12)
        partition, row = _partition(event.run_id), self._row(event, body)
        try:
            for _ in range(_RACES):
                position = self._position(partition) + 1
                try:
                    self._commit(partition, _key_name(event.key), position, row, token)
                except Refused as refusal:
                    self._positions.pop(partition, None)
                    if refusal.reasons[0] == "ConditionalCheckFailed":
                        self._unanswered.pop(name, None)
                        return self._is_ours(partition, _key_name(event.key), token)
                    time.sleep(random.uniform(0, 0.05))
                else:
                    self._positions[partition] = position
                    self._unanswered.pop(name, None)
                    return True
        except InfrastructureFailure:
            self._unanswered[name] = token
            raise
        raise InfrastructureFailure(
            f"another process writes to run {event.run_id} all the time; stop one of them"
        )

    def _row(self, event: Event, body: str) -> Item:
        row = {
            "run_id": {"S": event.run_id},
            "candidate": {"S": event.candidate_id},
            "kind": {"S": event.kind},
            **expiry(self._ttl_days),
        }
        data = body.encode()
        if len(data) > MAX_ITEM_BYTES:
            return {**row, "body_sha256": {"S": self._blobs.put(data)}}
        return {**row, "body": {"S": body}}

    def _commit(self, partition: str, key: str, position: int, row: Item, token: str) -> None:
        expires = expiry(self._ttl_days)
        number = {"N": str(position)}
        items: list[Item] = [
            {"run": {"S": partition}, "item": {"S": key}, "position": number, **expires}
            | {"token": {"S": token}},
            {"run": {"S": partition}, "item": {"S": _place(position)}, **row},
        ]
        if position == 1:
            # Runs are listed in the order of their first events, by positions of their own.
            place = self._position(_RUNS) + 1
            run = {"run_id": row["run_id"], **expires}
            items.append({"run": {"S": _RUNS}, "item": {"S": _place(place)}, **run})
        self._client.call(
            "record an event",
            "transact_write_items",
            expected={"TransactionCanceledException"},
            TransactItems=[
                {
                    "Put": {
                        "TableName": self._table,
                        "Item": item,
                        "ConditionExpression": "attribute_not_exists(#item)",
                        "ExpressionAttributeNames": {"#item": "item"},
                    }
                }
                for item in items
            ],
        )

    def _is_ours(self, partition: str, key: str, token: str) -> bool:
        item = self._item(partition, key)
        return item is not None and item["token"]["S"] == token

    def _position(self, partition: str) -> int:
        """The last position that is taken: the one we took, or else the one that is found."""
        known = self._positions.get(partition)
        if known is not None:
            return known
        answer = self._query(partition, _FIRST, ScanIndexForward=False, Limit=1)
        found = answer["Items"]
        return int(found[0]["item"]["S"].removeprefix(_FIRST)) if found else 0

    def events(
        self,
        run_id: str,
        *,
        after: int = 0,
        candidate_id: str | None = None,
        kinds: Sequence[str] = (),
    ) -> Iterator[tuple[int, Event]]:
        """See Ledger."""
        self._check_open()
        filters: list[str] = []
        values: Item = {}
        if candidate_id is not None:
            filters.append("#candidate = :candidate")
            values[":candidate"] = {"S": candidate_id}
        if kinds:
            names = {f":kind{index}": {"S": kind} for index, kind in enumerate(kinds)}
            filters.append(f"#kind IN ({', '.join(names)})")
            values |= names
        more: Item = {"FilterExpression": " AND ".join(filters)} if filters else {}
        partition, after = _partition(run_id), max(after, 0)
        if not candidate_id:
            return self._rows(partition, _place(after + 1), _LAST, values, more)
        return self._rows_of(candidate_id, partition, after, values, more)

    def _rows_of(
        self, candidate_id: str, partition: str, after: int, values: Item, more: Item
    ) -> Iterator[tuple[int, Event]]:
        """Read the places where a candidate has events, and what others recorded between them."""
        for low, high in _spans(self._places(candidate_id, partition), after):
            yield from self._rows(partition, _place(low), _place(high), values, more)

    def _places(self, candidate_id: str, partition: str) -> list[int]:
        """Positions of a candidate's events, by their keys, which begin with its id.

        Of keys that are too long only a digest is known: those of others are among them.
        """
        prefix = _key_name(f"{candidate_id}/")
        ranges = ((prefix, f"{prefix}{_HIGHEST}"), (_LONG, f"{_LONG}~"))
        return sorted(
            int(item["position"]["N"])
            for first, last in ranges
            for item in self._items(partition, first, last, {}, {})
        )

    def _rows(
        self, partition: str, first: str, last: str, values: Item, more: Item
    ) -> Iterator[tuple[int, Event]]:
        for item in self._items(partition, first, last, values, more):
            event = event_from_json(self._body(item))
            if event is not None:
                yield int(item["item"]["S"].removeprefix(_FIRST)), event

    def _items(
        self, partition: str, first: str, last: str, values: Item, more: Item
    ) -> Iterator[Item]:
        while True:
            self._check_open()
            answer = self._query(partition, first, values, last=last, **more)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            more = {**more, "ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def get(self, run_id: str, key: str) -> Event | None:
        """See Ledger."""
        self._check_open()
        partition = _partition(run_id)
        found = self._item(partition, _key_name(key))
        row = found and self._item(partition, _place(int(found["position"]["N"])))
        return event_from_json(self._body(row)) if row else None

    def runs(self) -> tuple[str, ...]:
        """See Ledger."""
        self._check_open()
        names: list[str] = []
        more: Item = {"ScanIndexForward": False}
        while True:
            answer = self._query(_RUNS, _FIRST, **more)
            names += [item["run_id"]["S"] for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return tuple(dict.fromkeys(names))
            more["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def count(self, run_id: str) -> int:
        """Return how many events the run has, of kinds that are known here or not."""
        self._check_open()
        return self._position(_partition(run_id))

    def close(self) -> None:
        """See Ledger."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the ledger in table {self._table} is closed")

    def _body(self, item: Item) -> str:
        if "body" in item:
            return str(item["body"]["S"])
        return self._blobs.get(item["body_sha256"]["S"]).decode()

    def _item(self, partition: str, name: str) -> Item | None:
        answer = self._client.call(
            "read the ledger",
            "get_item",
            TableName=self._table,
            Key={"run": {"S": partition}, "item": {"S": name}},
            ConsistentRead=True,
        )
        found: Item | None = answer.get("Item")
        return found

    def _query(
        self,
        partition: str,
        first: str,
        values: Item | None = None,
        *,
        last: str = _LAST,
        **more: Any,
    ) -> dict[str, Any]:
        names = {"#run": "run", "#item": "item"}
        wanted = more.get("FilterExpression", "")
        names |= {name: name[1:] for name in ("#candidate", "#kind") if name in wanted}
        return self._client.call(
            "read the ledger",
            "query",
            TableName=self._table,
            KeyConditionExpression="#run = :run AND #item BETWEEN :first AND :last",
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={
                ":run": {"S": partition},
                ":first": {"S": first},
                ":last": {"S": last},
                **(values or {}),
            },
            ConsistentRead=True,
            **more,
        )


def _partition(run_id: str) -> str:
    return f"run/{run_id}"


def _place(position: int) -> str:
    return f"{_FIRST}{position:012}"


def _key_name(key: str) -> str:
    data = key.encode("utf-8", "replace")
    # A sort key has at most 1,024 bytes, and a key of ours may name a file.
    if len(data) > _LONGEST_KEY:
        return f"{_LONG}{hashlib.sha256(data).hexdigest()}"
    return f"{_SHORT}{data.decode()}"


def _spans(places: Iterable[int], after: int) -> Iterator[tuple[int, int]]:
    """Yield the first and last of neighbouring places above ``after``, given in rising order."""
    span: tuple[int, int] | None = None
    for place in places:
        if place <= after:
            continue
        if span is not None and place - span[1] > _NEAR:
            yield span
            span = None
        span = (place if span is None else span[0], place)
    if span is not None:
        yield span
