"""What every ledger promises; the suite runs over each backend."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from evocodec.domain.candidate import Origin, Verdict
from evocodec.domain.events import (
    CandidateOpened,
    Event,
    Judged,
    Planned,
    RunStopped,
)
from evocodec.domain.vocabulary import RunOutcome, VerdictRule
from evocodec.store.ledger import Ledger
from evocodec.store.memory import MemoryLedger
from evocodec.store.sqlite.ledger import SqliteLedger
from tests.support.sample_events import AT, one_of_each_kind, opened


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from tests.support.aws_servers import moto_server

    with moto_server() as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", "dynamodb", "dynamodb-local"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    match request.param:
        case "memory":
            opened: Ledger = MemoryLedger()
        case "sqlite":
            opened = SqliteLedger(tmp_path / "ledger.db")
        case _:
            from tests.support.aws_servers import dynamo_ledger, fresh_name

            engine = "server" if request.param == "dynamodb" else "real_dynamodb"
            opened = dynamo_ledger(request.getfixturevalue(engine), fresh_name("ledger"))
    with closing(opened):
        yield opened


@pytest.fixture
def slow(ledger: Ledger) -> bool:
    """Whether a hundred events take seconds: moto copies its tables for each transaction."""
    return not isinstance(ledger, MemoryLedger | SqliteLedger)


def test_the_sample_has_every_kind() -> None:
    assert {type(event) for event in one_of_each_kind()} == set(get_args(Event))


def test_every_kind_of_event_is_read_as_it_was_recorded(ledger: Ledger) -> None:
    recorded = one_of_each_kind()
    assert all(ledger.record(event) for event in recorded)
    read = [event for _, event in ledger.events("run-1")]
    assert read == recorded
    assert [type(event) for event in read] == [type(event) for event in recorded]


def test_a_key_is_kept_once_and_the_first_stays(ledger: Ledger) -> None:
    first = opened(1)
    second = CandidateOpened(
        run_id="run-1", at="later", candidate_id="c0001", parent_id="c9", number=9
    )
    assert ledger.record(first) is True
    assert ledger.record(second) is False
    assert [event for _, event in ledger.events("run-1")] == [first]


def test_runs_do_not_share_keys_or_events(ledger: Ledger) -> None:
    assert ledger.record(opened(1, "a"))
    assert ledger.record(opened(1, "b"))
    assert [event.run_id for _, event in ledger.events("a")] == ["a"]
    assert list(ledger.events("absent")) == []


def test_positions_grow_and_serve_as_a_cursor(ledger: Ledger) -> None:
    for number in range(1, 6):
        ledger.record(opened(number))
        ledger.record(opened(number, "other"))
        ledger.record(opened(number))
    positions = [position for position, _ in ledger.events("run-1")]
    assert positions == sorted(set(positions))
    assert positions[0] > 0
    rest = list(ledger.events("run-1", after=positions[2]))
    assert [event.candidate_id for _, event in rest] == ["c0004", "c0005"]
    assert list(ledger.events("run-1", after=positions[-1])) == []


def test_events_are_filtered_by_candidate_and_kind(ledger: Ledger) -> None:
    for event in one_of_each_kind():
        ledger.record(event)
    ledger.record(opened(2))
    kinds = ("candidate_opened", "judged")
    found = [event.kind for _, event in ledger.events("run-1", candidate_id="c0001", kinds=kinds)]
    assert found == ["candidate_opened", "judged"]
    of_the_run = {event.kind for _, event in ledger.events("run-1", candidate_id="")}
    assert of_the_run == {"run_started", "anchor_ready", "run_stopped"}


def test_an_event_is_found_by_its_key(ledger: Ledger) -> None:
    ledger.record(opened(1))
    assert ledger.get("run-1", "c0001/opened") == opened(1)
    assert ledger.get("run-1", "c0002/opened") is None
    assert ledger.get("run-2", "c0001/opened") is None


def test_runs_are_listed_newest_first(ledger: Ledger) -> None:
    assert ledger.runs() == ()
    for run_id in ("b", "c", "a"):
        ledger.record(opened(1, run_id))
    ledger.record(opened(2, "b"))
    assert ledger.runs() == ("a", "c", "b")


def test_long_runs_are_read_completely_and_in_order(ledger: Ledger, slow: bool) -> None:
    # More than one page of a backend that counts; one that weighs has a test of its own.
    count = 30 if slow else 1203
    for number in range(count):
        ledger.record(opened(number))
    numbers = [event.candidate_id for _, event in ledger.events("run-1")]
    assert numbers == [f"c{number:04}" for number in range(count)]


def test_recording_is_possible_while_a_reader_rests(ledger: Ledger) -> None:
    for number in range(3):
        ledger.record(opened(number))
    reader = ledger.events("run-1")
    next(reader)
    assert ledger.record(opened(3))
    assert [event.candidate_id for _, event in reader][:2] == ["c0001", "c0002"]


def test_values_are_not_shared_with_the_caller(ledger: Ledger) -> None:
    counts = {"adopted": 1}
    ledger.record(RunStopped(run_id="run-1", at=AT, outcome=RunOutcome.FINISHED, counts=counts))
    counts["adopted"] = 99
    (_, event), *_ = ledger.events("run-1")
    assert isinstance(event, RunStopped)
    assert event.counts == {"adopted": 1}


def test_numbers_outside_json_survive(ledger: Ledger) -> None:
    verdict = Verdict(False, VerdictRule.FAILED, "none", "v0", float("inf"), float("nan"))
    ledger.record(Judged(run_id="run-1", at=AT, candidate_id="c", verdict=verdict))
    (_, event), *_ = ledger.events("run-1")
    assert isinstance(event, Judged)
    assert event.verdict.improvement_percent == float("inf")
    assert event.verdict.bitrate_mbps != event.verdict.bitrate_mbps


def test_text_that_is_not_unicode_is_replaced_not_refused(ledger: Ledger) -> None:
    plan = Planned(
        run_id="run-1", at=AT, candidate_id="c", origin=Origin.MODEL, hypothesis="a\ud800b\x00"
    )
    assert ledger.record(plan)
    (_, event), *_ = ledger.events("run-1")
    assert isinstance(event, Planned)
    assert event.hypothesis == "a?b\x00"


def test_of_many_threads_with_one_key_exactly_one_records(ledger: Ledger, slow: bool) -> None:
    wins: list[int] = []
    barrier = threading.Barrier(8)
    count = 5 if slow else 40

    def work() -> None:
        barrier.wait()
        for number in range(count):
            wins.extend([number] if ledger.record(opened(number)) else [])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == list(range(count))
    assert len(list(ledger.events("run-1"))) == count


def test_a_closed_ledger_says_so(ledger: Ledger) -> None:
    ledger.close()
    ledger.close()
    with pytest.raises(ValueError, match="closed"):
        ledger.record(opened(1))
    with pytest.raises(ValueError, match="closed"):
        list(ledger.events("run-1"))
