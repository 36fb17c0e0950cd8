"""What every ledger promises; the suite runs over each backend."""

import json
import logging
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from evocodec.domain.candidate import CandidateStatus, Finding, Origin, Verdict
from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.domain.events import (
    Adopted,
    AnchorReady,
    AttemptFailed,
    CandidateClosed,
    CandidateOpened,
    CodeWritten,
    Evaluated,
    Event,
    HeldOutTested,
    InfrastructureRetried,
    Judged,
    ModelCalled,
    Planned,
    PointMeasured,
    Reviewed,
    RunStarted,
    RunStopped,
    Screened,
    StageStarted,
)
from evocodec.domain.results import (
    BdRate,
    ClipScore,
    Cost,
    HeldOutResult,
    Interval,
    Quality,
    RatePoint,
    RdCurve,
    Score,
    ScreenResult,
    Stage,
)
from evocodec.domain.video import StreamInfo
from evocodec.store.event_json import EVENT_KINDS
from evocodec.store.ledger import Ledger
from evocodec.store.memory import MemoryLedger
from evocodec.store.sqlite_ledger import SqliteLedger

AT = "2026-01-02T03:04:05.678Z"
OLD_FORMAT = Path(__file__).parent.parent / "data" / "ledger_v1.sql"


def one_of_each_kind(run_id: str = "run-1") -> list[Event]:
    """Every kind once, every field away from its default where it has one."""
    quality = Quality(38.5, 41.0, 42.25, 39.3, None, 36.125)
    point = RatePoint("city", 30.5, 123_456, 24, quality, Cost(1.5, 1.4, 0.5, 0.4, 2**28, 24), "ab")
    curve = RdCurve("c0001", "city", (point,))
    clip = ClipScore("city", curve, BdRate(-12.5, -12.4, 0.75), 38.5, 1e6, 8.5e5, 0.85, 21.5)
    score = Score(8.5, 21.5, -12.5, "city", 0.85, 2.5, 9.5, 2**28, 4096, (clip,))
    screen = ScreenResult(0.91, {"city": 0.91}, "c0000", passed=True, reason="9 % fewer bits")
    held_out = HeldOutResult(
        True, "gain kept", "v1", 15.0, 12.5, Interval(8.0, 17.0, 0.9, 3), 3, "ff" * 32
    )
    verdict = Verdict(True, "bitrate", "15 % fewer bits", "v0", 15.0, 8.5, 21.5)
    run: Any = {"run_id": run_id, "at": AT}
    of: Any = {**run, "candidate_id": "c0001"}
    return [
        RunStarted(
            **run,
            proposer="mutation",
            seed=7,
            clips=("city", "dog"),
            settings={"run.minutes": "5"},
            software={"python": "3.11"},
            isolation={"seccomp": "on"},
            unsafe=True,
            resumed=1,
        ),
        AnchorReady(
            **run,
            curve=curve,
            stream=StreamInfo(35, 21, Fraction(30000, 1001), 24),
            operating_psnr_y_db=38.5,
            cached=True,
            clip_sha256="ab" * 32,
        ),
        CandidateOpened(**of, parent_id="c0000", number=1),
        Planned(
            **of,
            origin=Origin.MUTATION,
            hypothesis="larger blocks",
            steps=("one", "two"),
            edits=(("BLOCK", "32"),),
        ),
        ModelCalled(
            **of,
            role="coder",
            attempt=0,
            model="m",
            prompt_sha256="aa",
            template_sha256="bb",
            reply_sha256="cc",
            outcome="ok",
            prompt_tokens=100,
            completion_tokens=200,
            cost_usd=0.25,
            wall_seconds=1.5,
        ),
        CodeWritten(**of, attempt=0, source_sha256="dd" * 32, program_bytes=4096, note="n"),
        Reviewed(**of, attempt=0, accepted=False, findings=(Finding("import", "no os", 3),)),
        StageStarted(**of, attempt=0, stage=Stage.FULL, resumed=2),
        PointMeasured(**of, attempt=0, stage=Stage.FULL, task="c0001/city/q30", point=point),
        InfrastructureRetried(**of, task="c0001/city/q30", retry=1, reason="worker lost"),
        AttemptFailed(
            **of, attempt=0, stage=Stage.SMOKE, failure="timeout", message="120 s", detail="…\x00"
        ),
        Screened(**of, attempt=0, result=screen),
        Evaluated(**of, attempt=0, score=score),
        HeldOutTested(**of, attempt=0, result=held_out, score=score),
        Judged(**of, verdict=verdict),
        Adopted(**of, version=1, commit="ee" * 20, tag="v1", pushed=False, push_error="offline"),
        CandidateClosed(
            **of, status=CandidateStatus.ADOPTED, reason="better", experiment_id="real_exp_1"
        ),
        RunStopped(**run, outcome="finished", message="done", resumed=1, counts={"adopted": 1}),
    ]


YOUNGER_THAN_FORMAT_1 = {"held_out_tested"}
OLD_KINDS = [event.kind for event in one_of_each_kind() if event.kind not in YOUNGER_THAN_FORMAT_1]


def opened(number: int, run_id: str = "run-1") -> CandidateOpened:
    return CandidateOpened(
        run_id=run_id, at=AT, candidate_id=f"c{number:04}", parent_id="", number=number
    )


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from aws_servers import moto_server

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
            from aws_servers import dynamo_ledger, fresh_name

            engine = "server" if request.param == "dynamodb" else "real_dynamodb"
            opened = dynamo_ledger(request.getfixturevalue(engine), fresh_name("ledger"))
    with closing(opened):
        yield opened


@pytest.fixture
def slow(ledger: Ledger) -> bool:
    """Whether a hundred events take seconds: moto copies its tables for each transaction."""
    return not isinstance(ledger, MemoryLedger | SqliteLedger)


def test_the_sample_has_every_kind() -> None:
    assert {event.kind for event in one_of_each_kind()} == EVENT_KINDS


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
    ledger.record(RunStopped(run_id="run-1", at=AT, outcome="finished", counts=counts))
    counts["adopted"] = 99
    (_, event), *_ = ledger.events("run-1")
    assert isinstance(event, RunStopped)
    assert event.counts == {"adopted": 1}


def test_numbers_outside_json_survive(ledger: Ledger) -> None:
    verdict = Verdict(False, "failed", "none", "v0", float("inf"), float("nan"))
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


# What only a file can promise.


WRITER = """
import sys
from pathlib import Path
from evocodec.domain.events import CandidateOpened
from evocodec.store.sqlite_ledger import SqliteLedger

ledger = SqliteLedger(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    event = CandidateOpened(
        run_id="run-1", at="t", candidate_id=f"c{number:04}", parent_id="", number=number
    )
    if ledger.record(event):
        print(number, flush=True)
"""


def start_writer(path: Path, events: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(path), str(events)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_that_start_at_once_share_a_new_file(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path / "ledger.db", 25) for _ in range(3)]
    outputs = [writer.communicate(timeout=60) for writer in writers]
    assert [error for _, error in outputs] == ["", "", ""]
    assert sorted(int(line) for out, _ in outputs for line in out.split()) == list(range(25))


def test_what_was_recorded_before_a_kill_is_there_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with start_writer(path, 1_000_000) as writer:
        assert writer.stdout is not None
        promised = {int(writer.stdout.readline()) for _ in range(20)}
        writer.kill()
    with closing(SqliteLedger(path)) as ledger:
        numbers = [int(event.candidate_id[1:]) for _, event in ledger.events("run-1")]
        assert promised <= set(numbers)
        assert numbers == list(range(len(numbers)))
        assert ledger.record(opened(len(numbers)))


def test_a_reader_in_another_connection_sees_each_event_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a folder?with #odd %20 name" / "ledger.db"
    with (
        closing(SqliteLedger(path)) as writer,
        closing(SqliteLedger(path, read_only=True)) as reader,
    ):
        for number in range(3):
            writer.record(opened(number))
            assert len(list(reader.events("run-1"))) == number + 1
        with pytest.raises(InfrastructureFailure, match="readonly"):
            reader.record(opened(9))


def test_reading_a_missing_ledger_makes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with pytest.raises(UserError, match="evocodec run"):
        SqliteLedger(path, read_only=True)
    assert not path.exists()


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("this is a text file, and it is not a database at all" * 20)
    before = path.read_bytes()
    with pytest.raises(UserError, match="not an evocodec ledger"):
        SqliteLedger(path)
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE events (id INTEGER)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(UserError, match="another program"):
        SqliteLedger(path)
    assert path.read_bytes() == before


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    SqliteLedger(path).close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE schema_version SET version = 99")
        raw.commit()
    with pytest.raises(UserError, match=r"schema version 99.*Upgrade"):
        SqliteLedger(path)


def test_a_storage_failure_is_infrastructure_and_records_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(SqliteLedger(path)) as ledger:
        with closing(sqlite3.connect(path)) as raw:
            raw.execute("ALTER TABLE events RENAME TO hidden")
        with pytest.raises(InfrastructureFailure, match="no such table"):
            ledger.record(opened(1))
        with closing(sqlite3.connect(path)) as raw:
            raw.execute("ALTER TABLE hidden RENAME TO events")
        assert ledger.record(opened(1))


@pytest.fixture
def old_ledger(tmp_path: Path) -> Path:
    """A ledger as version 1 wrote it, with every kind of event."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(OLD_FORMAT.read_text(encoding="utf-8"))
    return path


def test_a_ledger_of_format_1_is_still_read(old_ledger: Path) -> None:
    with closing(SqliteLedger(old_ledger)) as ledger:
        kinds = [event.kind for _, event in ledger.events("run-1")]
        assert kinds == OLD_KINDS
        scored = ledger.get("run-1", "c0001/evaluated/0")
        assert isinstance(scored, Evaluated)
        assert scored.score.clips[0].curve.points[0].quality.worst_frame_psnr_y_db == 36.125
        assert ledger.record(opened(2))


def test_kinds_and_fields_of_the_future_are_skipped_with_a_log_line(
    old_ledger: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(old_ledger)) as raw:
        body = {"kind": "dreamt", "run_id": "run-1", "at": AT, "of": "sheep"}
        raw.execute(
            "INSERT INTO events (run_id, key, candidate_id, kind, at, body) VALUES (?,?,?,?,?,?)",
            ("run-1", "c1/dreamt", "c1", "dreamt", AT, json.dumps(body)),
        )
        raw.execute(
            "UPDATE events SET body = json_set(body, '$.mood', 'good') WHERE kind = 'planned'"
        )
        raw.commit()
    with caplog.at_level(logging.WARNING), closing(SqliteLedger(old_ledger)) as ledger:
        read = [event for _, event in ledger.events("run-1")]
        assert ledger.get("run-1", "c1/dreamt") is None
    assert len(read) == len(OLD_KINDS)
    assert "dreamt" in caplog.text


def test_a_damaged_event_is_named(old_ledger: Path) -> None:
    with closing(sqlite3.connect(old_ledger)) as raw:
        raw.execute("UPDATE events SET body = '{\"kind\": \"judged\"}' WHERE kind = 'judged'")
        raw.commit()
    with (
        closing(SqliteLedger(old_ledger)) as ledger,
        pytest.raises(UserError, match="cannot be read"),
    ):
        list(ledger.events("run-1"))


def test_a_slow_reader_does_not_block_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with (
        closing(SqliteLedger(path)) as writer,
        closing(SqliteLedger(path, read_only=True)) as reader,
    ):
        for number in range(600):
            writer.record(opened(number))
        rows = reader.events("run-1")
        next(rows)
        began = time.monotonic()
        writer.record(opened(601))
        assert time.monotonic() - began < 5
        assert len(list(rows)) == 600


def test_an_unfinished_write_ahead_log_is_recovered(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    copy = tmp_path / "copy.db"
    with closing(SqliteLedger(path)) as ledger:
        ledger.record(opened(1))
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    with closing(SqliteLedger(copy)) as recovered:
        assert len(list(recovered.events("run-1"))) == 1
