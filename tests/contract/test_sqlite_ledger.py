"""What the ledger in a file promises beyond every other."""

import json
import logging
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from evocodec.domain.errors import InfrastructureFailure, UserError
from evocodec.domain.events import (
    Evaluated,
)
from evocodec.store.sqlite.ledger import SqliteLedger
from tests.support.sample_events import AT, OLD_KINDS, opened

OLD_FORMAT = Path(__file__).parent.parent / "data" / "ledger_v1.sql"

WRITER = """
import sys
from pathlib import Path
from evocodec.domain.events import CandidateOpened
from evocodec.store.sqlite.ledger import SqliteLedger

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
        assert writer.record(opened(601))  # or SQLite would say that it is locked
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
