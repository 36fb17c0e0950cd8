"""Experiment records in DynamoDB: the shape that users query, and tables that others made."""

from collections.abc import Iterator
from typing import Any

import pytest

from evocodec.store.aws.client import connect
from evocodec.store.aws.records import DynamoRecordStore, records_table
from evocodec.store.aws.tables import ensure_table
from evocodec.store.memory import MemoryBlobStore
from evocodec.views.experiment_record import experiment_record
from tests.support.aws_servers import dynamo_records, fresh_name, moto_server, options_for
from tests.support.default_options import default_table_options
from tests.unit.test_experiment_record import adopted_events, record_at


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto_server() as url:
        yield url


def raw(server: str) -> Any:
    return connect("dynamodb", options_for(server)).raw


def test_the_item_has_the_shape_that_users_query(server: str) -> None:
    table = fresh_name("records")
    records = dynamo_records(server, table)
    record = experiment_record(adopted_events())
    records.put(record)
    key = {"experiment_id": {"S": record["experiment_id"]}}
    item = raw(server).get_item(TableName=table, Key=key)["Item"]
    assert item["timestamp"]["S"] == record["timestamp"]
    experiment = item["experiments"]["L"][0]["M"]
    assert experiment["experiment_type"]["S"] == "llm_generated_code_evolution"
    evolution = experiment["evolution"]["M"]
    wanted = record["experiments"][0]["evolution"]
    assert evolution["adopted"]["BOOL"] is True
    assert int(evolution["version"]["N"]) == wanted["version"]
    bitrate = evolution["metrics"]["M"]["bitrate_mbps"]["N"]
    assert float(bitrate) == wanted["metrics"]["bitrate_mbps"]


def test_a_record_too_large_for_an_item_comes_back_whole(server: str) -> None:
    table = fresh_name("records")
    records = dynamo_records(server, table)
    record = experiment_record(adopted_events())
    record["experiments"][0]["candidate"]["hypothesis"] = "ä" * 600_000
    records.put(record)
    assert records.get(record["experiment_id"]) == record
    key = {"experiment_id": {"S": record["experiment_id"]}}
    item = raw(server).get_item(TableName=table, Key=key)["Item"]
    evolution = item["experiments"]["L"][0]["M"]["evolution"]["M"]
    assert evolution["adopted"]["BOOL"] is True


def test_a_table_with_a_sort_key_and_no_index_is_used_as_it_is(server: str) -> None:
    table, client = fresh_name("records"), connect("dynamodb", options_for(server))
    names = ("experiment_id", "timestamp")
    client.raw.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in names],
        KeySchema=[
            {"AttributeName": n, "KeyType": k}
            for n, k in zip(names, ("HASH", "RANGE"), strict=True)
        ],
    )
    facts = ensure_table(client, records_table(table), default_table_options())
    records = DynamoRecordStore(client, facts, MemoryBlobStore(), ttl_days=0.0)
    for second in (7, 3, 9):
        records.put(record_at(second))
    assert [record["timestamp"][-6:] for record in records.latest(2)] == ["09.000", "07.000"]
    assert records.get(record_at(3)["experiment_id"]) == record_at(3)


def test_items_of_others_in_the_table_are_left_alone(server: str) -> None:
    table = fresh_name("records")
    records = dynamo_records(server, table)
    records.put(record_at(1))
    for name, item in {"note": {}, "odd": {"experiments": {"S": "[]"}}}.items():
        foreign = {"experiment_id": {"S": name}, "timestamp": {"S": "2030"}, **item}
        raw(server).put_item(TableName=table, Item=foreign)
    assert [record["experiment_id"] for record in records.latest(5)] == [
        record_at(1)["experiment_id"]
    ]
    assert records.get("note") is None
