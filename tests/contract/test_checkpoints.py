"""What every checkpoint saver promises: LangGraph's own conformance suite, over each backend."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver

from evocodec.store.memory import MemoryBlobStore

THREAD: Any = {"configurable": {"thread_id": "run-1/c0001", "checkpoint_ns": ""}}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from tests.support.aws_servers import moto_server

    with moto_server() as url:
        yield url


@pytest.fixture(params=["server", "real_dynamodb"])
def dynamodb(request: pytest.FixtureRequest) -> BaseCheckpointSaver[str]:
    from tests.support.aws_servers import dynamo_checkpoints, fresh_name

    return dynamo_checkpoints(request.getfixturevalue(request.param), fresh_name("checkpoints"))


@pytest.fixture(params=["sqlite", "server", "real_dynamodb"])
def saver(request: pytest.FixtureRequest) -> Iterator[BaseCheckpointSaver[str]]:
    if request.param != "sqlite":
        from tests.support.aws_servers import dynamo_checkpoints, fresh_name

        yield dynamo_checkpoints(request.getfixturevalue(request.param), fresh_name("checkpoints"))
        return
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    yield SqliteSaver(connection)
    connection.close()


def test_langgraphs_conformance_suite_passes(dynamodb: BaseCheckpointSaver[str]) -> None:
    conformance = pytest.importorskip(
        "langgraph.checkpoint.conformance", reason="its conformance suite is not installed"
    )

    @conformance.checkpointer_test(name="dynamodb")  # type: ignore[untyped-decorator]
    async def checkpointer() -> AsyncIterator[BaseCheckpointSaver[str]]:
        yield dynamodb

    report = asyncio.run(conformance.validate(checkpointer))
    failed = {
        name: result.failures for name, result in report.results.items() if result.passed is False
    }
    assert report.passed_all_base(), failed


def checkpoint(number: int, value: object = None) -> Any:
    made: Any = empty_checkpoint()
    made["id"] = f"1f000000-0000-6000-8000-{number:012}"
    made["channel_values"] = {"number": value or number}
    return made


def test_the_newest_checkpoint_comes_back_with_its_writes(saver: BaseCheckpointSaver[str]) -> None:
    assert saver.get_tuple(THREAD) is None
    config = saver.put(THREAD, checkpoint(1), {"step": 1}, {})
    config = saver.put(config, checkpoint(2), {"step": 2}, {})
    saver.put_writes(config, [("outcome", "planned"), ("attempt", 0)], "task-1")
    saver.put_writes(config, [("outcome", "ignored: a first write stays")], "task-1")
    found = saver.get_tuple(THREAD)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"number": 2}
    assert found.metadata["step"] == 2
    assert found.pending_writes == [("task-1", "outcome", "planned"), ("task-1", "attempt", 0)]
    assert found.parent_config is not None
    assert found.parent_config["configurable"]["checkpoint_id"] == checkpoint(1)["id"]


def test_threads_do_not_see_each_other(saver: BaseCheckpointSaver[str]) -> None:
    other: Any = {"configurable": {"thread_id": "run-1/c0002", "checkpoint_ns": ""}}
    saver.put(THREAD, checkpoint(1), {}, {})
    saver.put(other, checkpoint(2), {}, {})
    assert [found.checkpoint["id"] for found in saver.list(other)] == [checkpoint(2)["id"]]
    assert len(list(saver.list(None))) == 2
    saver.delete_thread("run-1/c0002")
    assert saver.get_tuple(other) is None
    assert saver.get_tuple(THREAD) is not None


def test_what_is_too_large_for_an_item_is_kept_as_a_blob(server: str) -> None:
    from tests.support.aws_servers import dynamo_checkpoints, fresh_name

    blobs = MemoryBlobStore()
    saver = dynamo_checkpoints(server, fresh_name("checkpoints"), blobs=blobs)
    large = "x" * 1_000_000
    config = saver.put(THREAD, checkpoint(1, large), {}, {})
    saver.put_writes(config, [("detail", large)], "task-1")
    found = saver.get_tuple(THREAD)
    assert found is not None
    assert found.checkpoint["channel_values"]["number"] == large
    assert found.pending_writes == [("task-1", "detail", large)]
