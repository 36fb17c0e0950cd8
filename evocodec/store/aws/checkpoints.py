"""LangGraph's checkpoints in a DynamoDB table, so that another controller can resume a run.

Checkpoints are read consistently: one that was put is there for whoever resumes. An item is a
checkpoint, with the values of its channels, or one write of a task. What is too large for an item
is kept as a blob.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import quote

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)

from evocodec.store.aws.client import AwsClient, Refused
from evocodec.store.aws.tables import MAX_ITEM_BYTES, TableSpec, expiry
from evocodec.store.blobs import BlobStore

Item: TypeAlias = dict[str, Any]

_BATCH = 25
_BEFORE_ALL, _AFTER_ALL = "", "~"


def checkpoints_table(name: str) -> TableSpec:
    """The table's keys."""
    return TableSpec(name, "thread", "item")


class DynamoCheckpointSaver(BaseCheckpointSaver[str]):
    """A checkpoint saver on a table that exists; any thread may call.

    ``ttl_days``: how long checkpoints stay; 0 means for ever. Deleting a thread leaves its blobs.
    """

    def __init__(self, client: AwsClient, table: str, blobs: BlobStore, *, ttl_days: float) -> None:
        super().__init__()
        self._client = client
        self._table = table
        self._blobs = blobs
        self._ttl_days = ttl_days

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that is named, or the newest of the thread."""
        thread, namespace = _thread(config), _namespace(config)
        wanted = get_checkpoint_id(config)
        if wanted:
            key = {"thread": {"S": thread}, "item": {"S": _checkpoint_name(namespace, wanted)}}
            item = self._call("get_item", Key=key, ConsistentRead=True).get("Item")
        else:
            item = next(self._checkpoints(thread, namespace, limit=1), None)
        return None if item is None else self._tuple(item)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Iterate over checkpoints, newest first; without a config, over those of all threads."""
        if limit is not None and limit <= 0:
            return
        given = 0
        last = (before and get_checkpoint_id(before)) or _AFTER_ALL
        for item in self._listed(config, last):
            found = self._tuple(item)
            metadata: dict[str, Any] = dict(found.metadata)
            if any(metadata.get(name) != value for name, value in (filter or {}).items()):
                continue
            yield found
            given += 1
            if given == limit:
                return

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint; one of the same id is replaced."""
        thread, namespace = _thread(config), _namespace(config)
        item: Item = {
            "thread": {"S": thread},
            "item": {"S": _checkpoint_name(namespace, checkpoint["id"])},
            "namespace": {"S": namespace},
            "checkpoint": {"S": checkpoint["id"]},
            "metadata": {"S": json.dumps(get_checkpoint_metadata(config, metadata))},
            **self._packed(checkpoint),
            **expiry(self._ttl_days),
        }
        parent = get_checkpoint_id(config)
        if parent:
            item["parent"] = {"S": parent}
        self._call("put_item", Item=item)
        return _config(thread, namespace, checkpoint["id"])

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Keep what a task wrote; a first write stays, but errors and interrupts are replaced."""
        checkpoint_id = get_checkpoint_id(config)
        if checkpoint_id is None:
            raise ValueError("writes belong to a checkpoint: configurable.checkpoint_id is missing")
        replace = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        place = _writes_name(_namespace(config), checkpoint_id)
        for number, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, number)
            item: Item = {
                "thread": {"S": _thread(config)},
                # Shifted, so that the negative numbers of errors and interrupts sort as text.
                "item": {"S": f"{place}{quote(task_id, safe='')}#{index + 1000:08}"},
                "task": {"S": task_id},
                "path": {"S": task_path},
                "channel": {"S": channel},
                **self._packed(value),
                **expiry(self._ttl_days),
            }
            condition: Item = {} if replace else _if_absent()
            try:
                self._call(
                    "put_item",
                    expected={"ConditionalCheckFailedException"},
                    Item=item,
                    **condition,
                )
            except Refused:
                continue

    def delete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints and writes of a thread."""
        keys = [
            {"thread": item["thread"], "item": item["item"]}
            for item in self._query(str(thread_id), _BEFORE_ALL, _AFTER_ALL)
        ]
        for start in range(0, len(keys), _BATCH):
            wanted = [{"DeleteRequest": {"Key": key}} for key in keys[start : start + _BATCH]]
            self._client.attempt("delete checkpoints", partial(self._batch, wanted))

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return the version after ``current``: numbers as text that sorts like numbers."""
        number = 0 if current is None else int(str(current).partition(".")[0])
        return f"{number + 1:032}"

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """As get_tuple, in a thread."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """As list, in a thread."""
        tuples = self.list(config, filter=filter, before=before, limit=limit)
        while (found := await asyncio.to_thread(next, tuples, None)) is not None:
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """As put, in a thread."""
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """As put_writes, in a thread."""
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """As delete_thread, in a thread."""
        await asyncio.to_thread(self.delete_thread, thread_id)

    def _listed(self, config: RunnableConfig | None, last: str) -> Iterator[Item]:
        if config is None:
            items = self._scan()
        elif wanted := get_checkpoint_id(config):
            name = _checkpoint_name(_namespace(config), wanted)
            items = self._query(_thread(config), name, name)
        elif "checkpoint_ns" in config["configurable"]:
            yield from self._checkpoints(_thread(config), _namespace(config), before=last)
            return
        else:
            items = self._query(_thread(config), "C#", f"C#{_AFTER_ALL}")
        found = [item for item in items if item["checkpoint"]["S"] < last]
        yield from sorted(found, key=lambda item: str(item["checkpoint"]["S"]), reverse=True)

    def _checkpoints(
        self, thread: str, namespace: str, *, before: str = _AFTER_ALL, limit: int = 0
    ) -> Iterator[Item]:
        first = _checkpoint_name(namespace, _BEFORE_ALL)
        more: Item = {"Limit": limit} if limit else {}
        found = self._query(
            thread, first, _checkpoint_name(namespace, before), ScanIndexForward=False, **more
        )
        return (item for item in found if item["checkpoint"]["S"] < before)

    def _tuple(self, item: Item) -> CheckpointTuple:
        thread, namespace = item["thread"]["S"], item["namespace"]["S"]
        checkpoint_id, parent = item["checkpoint"]["S"], item.get("parent", {}).get("S")
        place = _writes_name(namespace, checkpoint_id)
        writes = self._query(thread, place, place + _AFTER_ALL)
        return CheckpointTuple(
            _config(thread, namespace, checkpoint_id),
            self._unpacked(item),
            json.loads(item["metadata"]["S"]),
            _config(thread, namespace, parent) if parent else None,
            [(w["task"]["S"], w["channel"]["S"], self._unpacked(w)) for w in writes],
        )

    def _packed(self, value: Any) -> Item:
        kind, data = self.serde.dumps_typed(value)
        if len(data) > MAX_ITEM_BYTES:
            return {"kind": {"S": kind}, "value_sha256": {"S": self._blobs.put(bytes(data))}}
        return {"kind": {"S": kind}, "value": {"B": bytes(data)}}

    def _unpacked(self, item: Item) -> Any:
        large = "value_sha256" in item
        data = self._blobs.get(item["value_sha256"]["S"]) if large else item["value"]["B"]
        return self.serde.loads_typed((item["kind"]["S"], bytes(data)))

    def _query(self, thread: str, first: str, last: str, **more: Any) -> Iterator[Item]:
        limit = more.get("Limit")
        while True:
            answer = self._call(
                "query",
                KeyConditionExpression="#thread = :thread AND #item BETWEEN :first AND :last",
                ExpressionAttributeNames={"#thread": "thread", "#item": "item"},
                ExpressionAttributeValues={
                    ":thread": {"S": thread},
                    ":first": {"S": first or "!"},
                    ":last": {"S": last},
                },
                ConsistentRead=True,
                **more,
            )
            yield from answer["Items"]
            if limit or "LastEvaluatedKey" not in answer:
                return
            more["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _scan(self) -> Iterator[Item]:
        more: Item = {}
        while True:
            answer = self._call(
                "scan",
                FilterExpression="begins_with(#item, :checkpoint)",
                ExpressionAttributeNames={"#item": "item"},
                ExpressionAttributeValues={":checkpoint": {"S": "C#"}},
                ConsistentRead=True,
                **more,
            )
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            more["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _batch(self, requests: Sequence[Item]) -> None:
        answer = self._client.raw.batch_write_item(RequestItems={self._table: requests})
        left = answer.get("UnprocessedItems", {}).get(self._table, [])
        if left:
            raise OSError(f"{len(left)} items were not deleted yet")

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        verb = "keep" if operation == "put_item" else "read"
        return self._client.call(
            f"{verb} a checkpoint", operation, TableName=self._table, **arguments
        )


def _if_absent() -> Item:
    return {
        "ConditionExpression": "attribute_not_exists(#item)",
        "ExpressionAttributeNames": {"#item": "item"},
    }


def _thread(config: RunnableConfig) -> str:
    return str(config["configurable"]["thread_id"])


def _namespace(config: RunnableConfig) -> str:
    return str(config["configurable"].get("checkpoint_ns", ""))


def _config(thread: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {
        "configurable": {
            "thread_id": thread,
            "checkpoint_ns": namespace,
            "checkpoint_id": checkpoint_id,
        }
    }


def _checkpoint_name(namespace: str, checkpoint_id: str) -> str:
    return f"C#{quote(namespace, safe='')}#{checkpoint_id}"


def _writes_name(namespace: str, checkpoint_id: str) -> str:
    return f"W#{quote(namespace, safe='')}#{checkpoint_id}#"
