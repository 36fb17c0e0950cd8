"""A run of version 0.1 is resumed: a candidate is proposed, executed and judged in it."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from evocodec.app import Laboratory, runner
from evocodec.app.runs import perform_run
from evocodec.codec.program import Program
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.events import (
    CandidateOpened,
    CodeWritten,
    Event,
    Planned,
    PointMeasured,
    RunStarted,
)
from evocodec.domain.vocabulary import RunOutcome
from evocodec.execution.engine import local_engine
from evocodec.store.blobs import FileBlobStore
from evocodec.store.file_records import FileRecordStore
from evocodec.store.sqlite.ledger import SqliteLedger
from tests.support.toy_laboratory import CARPHONE, TOY, settings_for

OLD = Path(__file__).parents[1] / "data" / "run_v0_1.sql"
RUN = "run-20261130-152723-a060"


class WholeReads(SqliteLedger):
    """Counts how often all events of a run were read."""

    whole = 0

    def events(
        self,
        run_id: str,
        *,
        after: int = 0,
        candidate_id: str | None = None,
        kinds: Sequence[str] = (),
    ) -> Iterator[tuple[int, Event]]:
        self.whole += after == 0 and candidate_id is None and not kinds
        return super().events(run_id, after=after, candidate_id=candidate_id, kinds=kinds)


def keep_programs(events: Sequence[Event], blobs: FileBlobStore) -> None:
    """Make the run's programs again, of the toy and the edits that were planned; keep them."""
    texts: dict[str, str] = {}
    parents = {e.candidate_id: e.parent_id for e in events if isinstance(e, CandidateOpened)}
    edits = {e.candidate_id: e.edits for e in events if isinstance(e, Planned)}
    for event in events:
        if isinstance(event, CodeWritten):
            name = event.candidate_id
            parent = Program(texts.get(parents[name], TOY.read_text()))
            texts[name] = parent.edited(edits[name]).text
            assert blobs.put(texts[name].encode()) == event.source_sha256
    assert len(texts) in {2, 3}


def test_a_run_of_version_0_1_goes_on_with_a_candidate_that_is_executed(tmp_path: Path) -> None:
    script = OLD.read_text().replace("/clips/carphone_pristine.mp4", str(CARPHONE))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as raw:
        raw.executescript(script)
    ledger, blobs = WholeReads(tmp_path / "ledger.sqlite"), FileBlobStore(tmp_path / "blobs")
    before = list(ledger.events(RUN))
    keep_programs([event for _, event in before], blobs)
    settings = settings_for(tmp_path, run__candidates=4)
    records = FileRecordStore(tmp_path / "experiments")
    told: list[Event] = []
    reads: list[int] = []
    with Laboratory(settings, ledger, blobs, records) as opened:
        ledger.whole = 0
        view = perform_run(
            opened, resume=RUN, replay=told.extend, listeners=[lambda _: reads.append(ledger.whole)]
        )
        after = list(opened.resolver.events(RUN))
    assert after[: len(before)] == before
    assert told == [event for _, event in before]
    assert reads[0] == 1  # for the search, the metrics and the display together
    new = [event for _, event in after[len(before) :]]
    assert isinstance(new[0], RunStarted)
    assert new[0].resumed == 1
    points = [event for event in new if isinstance(event, PointMeasured)]
    assert {event.candidate_id for event in points} >= {"c0004"}
    fourth = view.candidate("c0004")
    assert fourth is not None
    assert fourth.parent_id == "c0002"
    assert fourth.verdict is not None
    assert fourth.status in {CandidateStatus.ADOPTED, CandidateStatus.REJECTED}
    assert view.outcome is RunOutcome.FINISHED
    assert [one.candidate_id for one in view.candidates] == ["c0001", "c0002", "c0003", "c0004"]


def test_a_score_that_version_0_1_did_not_verify_is_verified_before_it_is_judged(
    tmp_path: Path,
) -> None:
    script = OLD.read_text().replace("/clips/carphone_pristine.mp4", str(CARPHONE))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as raw, raw:
        raw.executescript(script)
        cut = "SELECT position FROM events WHERE key = 'c0002/evaluated/0'"
        raw.execute(f"DELETE FROM events WHERE position > ({cut})")
    ledger, blobs = SqliteLedger(tmp_path / "ledger.sqlite"), FileBlobStore(tmp_path / "blobs")
    keep_programs([event for _, event in ledger.events(RUN)], blobs)
    records = FileRecordStore(tmp_path / "experiments")
    with (
        Laboratory(settings_for(tmp_path, run__candidates=2), ledger, blobs, records) as opened,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(runner, "ray_engine", local_engine)
        view = perform_run(opened, resume=RUN)
        points = [e for _, e in ledger.events(RUN) if isinstance(e, PointMeasured)]
    second = view.candidate("c0002")
    assert second is not None
    assert second.verdict is not None
    verified = [e.point.qp for e in points if e.candidate_id == "c0002" and e.point.verified]
    assert {32.0, 37.5, 41.5, 46.0} <= set(verified)
