"""The ledger in DynamoDB when things go wrong: throttling, lost answers, races, foreign tables."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from evocodec.domain.candidate import Origin
from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.domain.events import CandidateOpened, InfrastructureRetried, Planned
from evocodec.store.aws.client import AwsClient, AwsOptions, connect
from evocodec.store.aws.ledger import DynamoLedger, ledger_table
from evocodec.store.aws.records import records_table
from evocodec.store.aws.tables import ensure_table
from evocodec.store.memory import MemoryBlobStore
from tests.support.aws_fault_proxy import LOSE, Answer, Door, door_to
from tests.support.aws_servers import dynamo_ledger, fresh_name, moto_server, options_for
from tests.support.default_options import default_table_options

WRITE = "TransactWriteItems"
THROTTLED = Answer(400, "ProvisionedThroughputExceededException")
BROKEN = Answer(500, "InternalServerError")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def door(server: str) -> Iterator[Door]:
    with door_to(server) as opened:
        yield opened


def opened(number: int, run_id: str = "run-1", at: str = "t") -> CandidateOpened:
    return CandidateOpened(
        run_id=run_id, at=at, candidate_id=f"c{number:04}", parent_id="", number=number
    )


def hasty(door: Door, table: str, seconds: float = 0.5) -> DynamoLedger:
    """A ledger behind the door that gives up soon."""
    client = AwsClient("dynamodb", options_for(door.url, retry_seconds=seconds))
    ensure_table(client, ledger_table(table), default_table_options())
    return DynamoLedger(client, table, MemoryBlobStore(), ttl_days=0.0)


def test_throttling_is_waited_out(door: Door) -> None:
    ledger = dynamo_ledger(door.url, fresh_name("ledger"))
    door.harm(WRITE, *[THROTTLED, BROKEN] * 3)
    assert ledger.record(opened(1)) is True
    assert door.faults == []
    assert len(list(ledger.events("run-1"))) == 1


def test_an_event_whose_answer_was_lost_counts_as_recorded_once(door: Door) -> None:
    ledger = dynamo_ledger(door.url, fresh_name("ledger"))
    door.harm(WRITE, LOSE)
    assert ledger.record(opened(1)) is True
    assert ledger.record(opened(1)) is False
    assert ledger.record(opened(2)) is True
    assert [event for _, event in ledger.events("run-1")] == [opened(1), opened(2)]


def test_after_giving_up_the_call_may_be_repeated_even_if_it_was_carried_out(door: Door) -> None:
    ledger = hasty(door, fresh_name("ledger"))
    assert ledger.record(opened(1))
    door.harm(WRITE, LOSE, *[BROKEN] * 50)
    with pytest.raises(InfrastructureFailure, match=r"cannot record an event.*0\.5 s"):
        ledger.record(opened(2))
    door.heal()
    # Ours, carried out or not: whoever is told True tells the listeners, who must not miss it.
    assert ledger.record(opened(2)) is True
    assert ledger.record(opened(2)) is False
    assert ledger.record(opened(2, at="later")) is False
    assert len(list(ledger.events("run-1"))) == 2


def test_what_is_throttled_for_too_long_is_given_up(door: Door) -> None:
    ledger = hasty(door, fresh_name("ledger"), seconds=0.3)
    door.harm(WRITE, *[THROTTLED] * 1000)
    with pytest.raises(InfrastructureFailure, match="resume"):
        ledger.record(opened(1))
    assert 900 < len(door.faults) < 1000
    door.heal()
    assert list(ledger.events("run-1")) == []


def test_two_processes_that_write_one_run_leave_no_gap_and_no_double(server: str) -> None:
    table = fresh_name("ledger")
    ledgers = [dynamo_ledger(server, table) for _ in range(2)]
    wins: list[int] = []

    def work(ledger: DynamoLedger) -> None:
        for number in range(8):
            wins.extend([number] if ledger.record(opened(number)) else [])

    threads = [threading.Thread(target=work, args=(ledger,)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == list(range(8))
    assert [position for position, _ in ledgers[0].events("run-1")] == list(range(1, 9))
    assert ledgers[1].count("run-1") == 8


def test_a_run_is_read_over_many_pages_and_large_events_lie_beside_it(server: str) -> None:
    blobs = MemoryBlobStore()
    ledger = dynamo_ledger(server, fresh_name("ledger"), blobs=blobs)
    # A page holds 1 MB, an item 400 KB.
    sizes = [200_000] * 12 + [900_000, 10]
    plans = [
        Planned(
            run_id="run-1",
            at="t",
            candidate_id=f"c{number:04}",
            origin=Origin.MODEL,
            hypothesis="ä" * (size // 2),
        )
        for number, size in enumerate(sizes)
    ]
    assert all(ledger.record(plan) for plan in plans)
    assert [event for _, event in ledger.events("run-1")] == plans
    assert ledger.get("run-1", "c0012/planned") == plans[12]
    found = ledger.events("run-1", after=11, candidate_id="c0013")
    assert [position for position, _ in found] == [14]


class CountingClient(AwsClient):
    """Counts the items that queries went through, filtered out or not."""

    scanned = 0

    def call(self, doing: str, operation: str, **more: Any) -> dict[str, Any]:
        answer = super().call(doing, operation, **more)
        self.scanned += answer.get("ScannedCount", 0)
        return answer


def test_a_candidate_is_read_without_the_rest_of_a_long_run(server: str) -> None:
    client = CountingClient("dynamodb", options_for(server))
    table = fresh_name("ledger")
    ensure_table(client, ledger_table(table), default_table_options())
    ledger = DynamoLedger(client, table, MemoryBlobStore(), ttl_days=0.0)
    for number in range(150):
        ledger.record(opened(number))
        if number in {5, 6, 140}:
            for task in (f"late {number}", "x" * 2000):
                for name in ("c0005", "c00051"):
                    ledger.record(retried(name, task))
    everything = list(ledger.events("run-1"))
    for after in (0, 20, 1000):
        for kinds in ((), ("infrastructure_retried",)):
            client.scanned = 0
            found = list(ledger.events("run-1", candidate_id="c0005", kinds=kinds, after=after))
            assert found == [
                (position, event)
                for position, event in everything
                if event.candidate_id == "c0005"
                and position > after
                and (not kinds or event.kind in kinds)
            ]
            assert client.scanned < 50
    assert list(ledger.events("run-1", candidate_id="c9999")) == []


def retried(name: str, task: str) -> InfrastructureRetried:
    return InfrastructureRetried(
        run_id="run-1", at="t", candidate_id=name, task=task, retry=1, reason=""
    )


def test_keys_longer_than_a_sort_key_are_told_apart(server: str) -> None:
    ledger = dynamo_ledger(server, fresh_name("ledger"))
    events = [
        InfrastructureRetried(
            run_id="run-1", at="t", candidate_id="c1", task="x" * 2000 + end, retry=1, reason=""
        )
        for end in "ab"
    ]
    assert [ledger.record(event) for event in events] == [True, True]
    assert ledger.record(events[0]) is False
    assert ledger.get("run-1", events[1].key) == events[1]


def test_events_expire_only_where_that_is_wished(server: str) -> None:
    client = connect("dynamodb", options_for(server))
    for days in (0.0, 2.0):
        table = fresh_name("ledger")
        ensure_table(client, ledger_table(table), default_table_options(ttl=days > 0))
        ensure_table(client, ledger_table(table), default_table_options(ttl=days > 0))
        DynamoLedger(client, table, MemoryBlobStore(), ttl_days=days).record(opened(1))
        items = client.raw.scan(TableName=table)["Items"]
        expiring = [int(item["expires_at"]["N"]) for item in items if "expires_at" in item]
        assert len(expiring) == (len(items) if days else 0)
        assert all(abs(at - time.time() - 2 * 86_400) < 60 for at in expiring)
        state = client.raw.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        assert state["TimeToLiveStatus"] == ("ENABLED" if days else "DISABLED")


def test_a_table_of_something_else_is_refused(server: str) -> None:
    client = connect("dynamodb", options_for(server))
    table = fresh_name("records")
    ensure_table(client, records_table(table), default_table_options())
    with pytest.raises(UserError, match=r"experiment_id \(S\), but run \(S\) and item \(S\)"):
        ensure_table(client, ledger_table(table), default_table_options())


def test_a_missing_table_is_made_only_when_that_is_wished(server: str) -> None:
    client = connect("dynamodb", options_for(server))
    with pytest.raises(UserError, match="store tables --create"):
        ensure_table(client, ledger_table("absent"), default_table_options(create=False))
    facts = ensure_table(client, ledger_table(fresh_name("made")), default_table_options())
    assert facts.on_demand
    assert facts.status == "ACTIVE"


def test_refused_access_names_the_permission(door: Door) -> None:
    text = "User: arn:aws:iam::1:user/x is not authorized to perform: dynamodb:DescribeTable"
    door.harm("DescribeTable", Answer(400, "AccessDeniedException", text))
    client = AwsClient("dynamodb", options_for(door.url))
    with pytest.raises(UserError, match=r"dynamodb:DescribeTable.*docs/stores\.md"):
        ensure_table(client, ledger_table("any"), default_table_options())
    assert len(door.calls) == 1  # a refusal is not asked for again


def test_missing_credentials_and_regions_are_said(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    client = AwsClient("dynamodb", options_for(server))
    with pytest.raises(UserError, match="AWS_PROFILE"):
        client.call("try", "list_tables")
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"store\.region"):
        AwsClient("dynamodb", AwsOptions("", server, 60.0))


@pytest.mark.usefixtures("server")
def test_a_server_that_is_not_there_is_an_infrastructure_failure() -> None:
    client = AwsClient("dynamodb", AwsOptions("eu-central-1", "http://127.0.0.1:9", 0.2))
    with pytest.raises(InfrastructureFailure, match=r"dynamodb at http://127\.0\.0\.1:9"):
        client.call("try", "list_tables")
