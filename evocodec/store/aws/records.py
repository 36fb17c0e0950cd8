"""Experiment records in DynamoDB, in the shape that users query: one item per candidate."""

import json
from decimal import Decimal
from typing import Any, Final, TypeAlias, cast

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from evocodec.store.aws.client import AwsClient
from evocodec.store.aws.tables import MAX_ITEM_BYTES, TableFacts, TableSpec, expiry
from evocodec.store.blobs import BlobStore
from evocodec.store.records import ExperimentRecord, check_experiment_id

Item: TypeAlias = dict[str, Any]

INDEX: Final = "by-timestamp"
_GROUP, _ALL = "record_group", "all"
_WHOLE = "record_sha256"
_OWN = {_GROUP, _WHOLE, "expires_at"}
_NEEDED = {"experiment_id", "timestamp", "experiments"}


def records_table(name: str) -> TableSpec:
    """The table's keys; one that has the timestamp as its sort key is used as it is."""
    return TableSpec(
        name,
        "experiment_id",
        other_range_keys=("timestamp",),
        index=INDEX,
        index_keys=(_GROUP, "timestamp"),
    )


class DynamoRecordStore:
    """A RecordStore in a table that exists; a record too large for an item is kept as a blob too.

    The item then has everything but what the agents wrote. ``latest`` reads an index, which
    follows the table by a moment; in a table without it, all items are looked at.
    """

    def __init__(
        self, client: AwsClient, table: TableFacts, blobs: BlobStore, *, ttl_days: float
    ) -> None:
        self._client = client
        self._table = table
        self._blobs = blobs
        self._ttl_days = ttl_days

    def put(self, record: ExperimentRecord) -> None:
        """See RecordStore."""
        check_experiment_id(record["experiment_id"])
        text = json.dumps(record, allow_nan=False, ensure_ascii=False).encode("utf-8", "replace")
        value: Item = json.loads(text, parse_float=Decimal)
        if len(text) > MAX_ITEM_BYTES:
            value[_WHOLE] = self._blobs.put(text)
            for experiment in value["experiments"]:
                experiment.pop("candidate", None)
                evolution = experiment["evolution"]
                for name, content in evolution.items():
                    if isinstance(content, str):
                        evolution[name] = content[:2000]
        value[_GROUP] = _ALL
        item = {name: TypeSerializer().serialize(field) for name, field in value.items()}
        self._client.call(
            f"keep the record {record['experiment_id']}",
            "put_item",
            TableName=self._table.name,
            Item={**item, **expiry(self._ttl_days)},
        )

    def get(self, experiment_id: str) -> ExperimentRecord | None:
        """See RecordStore."""
        check_experiment_id(experiment_id)
        answer = self._client.call(
            f"read the record {experiment_id}",
            "query",
            TableName=self._table.name,
            KeyConditionExpression="experiment_id = :id",
            ExpressionAttributeValues={":id": {"S": experiment_id}},
            ConsistentRead=True,
            ScanIndexForward=False,
            Limit=1,
        )
        return self._record(answer["Items"][0]) if answer["Items"] else None

    def latest(self, n: int) -> tuple[ExperimentRecord, ...]:
        """See RecordStore. An item that is no record is skipped."""
        if n <= 0:
            return ()
        names = self._newest(n) if INDEX in self._table.indexes else self._all()
        newest = sorted(names, reverse=True)[:n]
        records = (self.get(experiment_id) for _, experiment_id in newest)
        return tuple(record for record in records if record is not None)

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all records, the oldest first."""
        return tuple(experiment_id for _, experiment_id in sorted(self._all()))

    def _newest(self, n: int) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        more: Item = {}
        while len(found) < n:
            answer = self._client.call(
                "read the newest records",
                "query",
                TableName=self._table.name,
                IndexName=INDEX,
                KeyConditionExpression=f"{_GROUP} = :all",
                ExpressionAttributeValues={":all": {"S": _ALL}},
                ScanIndexForward=False,
                Limit=n,
                **more,
            )
            found += [
                (item["timestamp"]["S"], item["experiment_id"]["S"]) for item in answer["Items"]
            ]
            if "LastEvaluatedKey" not in answer:
                break
            more["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        return found

    def _all(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        more: Item = {}
        while True:
            answer = self._client.call(
                "read the list of records",
                "scan",
                TableName=self._table.name,
                ProjectionExpression="experiment_id, #timestamp",
                FilterExpression="attribute_exists(experiments) AND attribute_exists(#timestamp)",
                ExpressionAttributeNames={"#timestamp": "timestamp"},
                ConsistentRead=True,
                **more,
            )
            found += [
                (item["timestamp"]["S"], item["experiment_id"]["S"]) for item in answer["Items"]
            ]
            if "LastEvaluatedKey" not in answer:
                return found
            more["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _record(self, item: Item) -> ExperimentRecord | None:
        if _WHOLE in item:
            whole = json.loads(self._blobs.get(item[_WHOLE]["S"]))
            return cast("ExperimentRecord", whole)
        if not item.keys() >= _NEEDED or "L" not in item["experiments"]:
            return None
        fields = {name: field for name, field in item.items() if name not in _OWN}
        value = {name: _plain(TypeDeserializer().deserialize(f)) for name, f in fields.items()}
        return cast("ExperimentRecord", value)


def _plain(value: Any) -> Any:
    """DynamoDB has one kind of number: whole ones become int, others float."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
