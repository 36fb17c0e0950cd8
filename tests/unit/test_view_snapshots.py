"""Snapshots of views: what a look reads, and when a file is left aside."""

from pathlib import Path

import pytest

from evocodec.domain.events import Event
from evocodec.store.memory import MemoryLedger
from evocodec.views import snapshot
from evocodec.views.progress import Progress
from evocodec.views.run import RunView
from evocodec.views.snapshot import Snapshots
from tests.support import sample_run as story
from tests.support.counting_ledger import CountingLedger


def recorded(events: list[Event]) -> CountingLedger:
    ledger = CountingLedger()
    for event in events:
        ledger.record(event)
    return ledger


def look(folder: Path, ledger: MemoryLedger, *, worth: int = 10) -> RunView:
    progress = Progress()
    Snapshots(folder, worth=worth).follow(ledger, story.RUN, progress)
    return progress.view()


def test_a_second_look_reads_only_what_is_new(tmp_path: Path) -> None:
    events = story.finished()
    ledger = recorded(events[:-3])
    look(tmp_path, ledger)
    assert ledger.read == len(events) - 3
    for event in events[-3:]:
        ledger.record(event)
    ledger.read = 0
    view = look(tmp_path, ledger)
    assert ledger.read == 1 + 3  # the newest that is in the snapshot, to see that it is there
    assert view == look(Path("/dev/null"), ledger)


def test_a_short_run_leaves_no_file_behind(tmp_path: Path) -> None:
    look(tmp_path, recorded(story.finished()), worth=1000)
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_of_another_ledger_is_left_aside(tmp_path: Path) -> None:
    events = story.finished()
    look(tmp_path, recorded(events))
    (file,) = tmp_path.iterdir()
    shorter, other = recorded(events[:-1]), recorded([*events[:40], *events[41:]])
    for ledger in (shorter, other):
        before = file.read_bytes()
        assert look(tmp_path, ledger) == look(Path("/dev/null"), ledger)
        file.write_bytes(before)


def test_a_snapshot_of_other_code_is_left_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = recorded(story.finished())
    look(tmp_path, ledger)
    ledger.read = 0
    monkeypatch.setattr(snapshot, "_code_digest", lambda: "of another version")
    look(tmp_path, ledger)
    assert ledger.read == len(story.finished())


def test_the_digest_of_the_code_covers_events_their_reading_and_the_folds() -> None:
    names = {str(file) for file in snapshot.code_files()}
    for needed in ("domain/events/run.py", "store/event_json.py", "views/candidate.py"):
        assert any(name.endswith(needed) for name in names)


def test_a_name_that_is_no_file_name_has_no_snapshot(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    for event in story.finished("../outside"):
        ledger.record(event)
    progress = Progress()
    Snapshots(tmp_path / "in", worth=1).follow(ledger, "../outside", progress)
    assert progress.view().run_id == "../outside"
    assert list(tmp_path.iterdir()) == []
