"""Experiment records keep the user's shape, and never hold a number that was not measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from evocodec.domain import events as ev
from evocodec.domain.candidate import CandidateStatus, Finding, Origin, Verdict
from evocodec.domain.errors import (
    FailureKind,
    InfrastructureFailure,
)
from evocodec.domain.results import Score, ScreenResult, Stage
from evocodec.domain.vocabulary import GateRule, VerdictRule
from evocodec.store.file_records import FileRecordStore
from evocodec.store.records import ExperimentRecord
from evocodec.views.experiment_record import experiment_id, experiment_record

AT = "2025-10-17T01:36:35.028"
OF: Any = {"run_id": "r", "candidate_id": "c0001", "at": AT}
SCORE = Score(8.47, 4.2, -15.0, "city", 0.9, 2.0, 8.0, 2**20, 4000, ())


def opening(at: str = AT, candidate_id: str = "c0001") -> ev.CandidateOpened:
    return ev.CandidateOpened(
        run_id="r", at=at, candidate_id=candidate_id, parent_id="c0000", number=1
    )


def planned() -> list[ev.Event]:
    return [
        opening(),
        ev.Planned(**OF, origin=Origin.MODEL, hypothesis="mix contexts", edits=(("MIX", "True"),)),
        ev.CodeWritten(**OF, attempt=0, source_sha256="a" * 64, program_bytes=4000),
        ev.Reviewed(**OF, attempt=0, accepted=True),
        ev.StageStarted(**OF, attempt=0, stage=Stage.SMOKE),
    ]


def judged(verdict: Verdict, status: CandidateStatus) -> list[ev.Event]:
    closed = ev.CandidateClosed(
        **OF, status=status, reason=verdict.reason, experiment_id="real_exp_1760664995_00000000"
    )
    adopted = ev.Adopted(**OF, version=1, commit="abc123", tag="v1", pushed=False)
    middle: list[ev.Event] = [adopted] if verdict.adopt else []
    return [
        *planned(),
        ev.Evaluated(**OF, attempt=0, score=SCORE),
        ev.Judged(**OF, verdict=verdict),
        *middle,
        closed,
    ]


def adopted_events() -> list[ev.Event]:
    verdict = Verdict(True, VerdictRule.FIRST_UNDER_ADOPT, "8.47 is under 9", "v0", 15.3, 8.47, 4.2)
    return judged(verdict, CandidateStatus.ADOPTED)


def failed_events(failure: FailureKind = FailureKind.TIMEOUT) -> list[ev.Event]:
    return [
        *planned(),
        ev.AttemptFailed(
            **OF, attempt=0, stage=Stage.SMOKE, failure=failure, message="120 s", detail="secret"
        ),
        ev.CandidateClosed(
            **OF, status=CandidateStatus.TEST_FAILED, reason="timeout: 120 s", experiment_id="x1"
        ),
    ]


def evolution(record: ExperimentRecord) -> Any:
    (experiment,) = record["experiments"]
    return experiment["evolution"]


def test_an_adopted_candidate_has_exactly_the_users_shape_and_more_beside() -> None:
    record = experiment_record(adopted_events())
    assert record["experiment_id"] == "real_exp_1760664995_00000000"
    assert record["timestamp"] == "2025-10-17T01:36:35.028"
    (experiment,) = record["experiments"]
    assert experiment["experiment_type"] == "llm_generated_code_evolution"
    assert experiment["status"] == "completed"
    wanted = {
        "status": "adopted",
        "adopted": True,
        "version": 1,
        "metrics": {"bitrate_mbps": 8.47, "compression_ratio": 4.2},
        "improvement": "15.3% better than v0",
        "github_committed": True,
        "github_commit_hash": "abc123",
    }
    found: Any = experiment["evolution"]
    assert wanted.items() <= found.items()
    assert found["github_pushed"] is False
    assert "v1" in found["summary"]
    assert "mix contexts" in found["summary"]
    assert experiment["candidate"]["origin"] == "model"
    assert experiment["candidate"]["source_sha256"] == "a" * 64
    assert record["run_id"] == "r"


def test_a_failed_candidate_has_a_reason_and_no_metrics() -> None:
    found = evolution(experiment_record(failed_events()))
    assert found["status"] == "test_failed"
    assert not found["metrics"]
    assert found["improvement"] == ""
    assert (found["adopted"], found["version"]) == (False, None)
    assert (found["github_committed"], found["github_commit_hash"]) == (False, "")
    assert found["failure"] == {"kind": "timeout", "stage": "smoke", "message": "120 s"}
    assert found["reason"] == "timeout: 120 s"


def test_a_failure_after_a_score_still_has_no_metrics() -> None:
    scored = ev.Evaluated(**OF, attempt=0, score=SCORE)
    events = [*planned(), scored, *failed_events(FailureKind.NONDETERMINISTIC)[-2:]]
    text = json.dumps(experiment_record(events))
    assert "8.47" not in text
    assert not evolution(experiment_record(events))["metrics"]


def test_a_rejected_candidate_keeps_its_measured_numbers() -> None:
    verdict = Verdict(False, VerdictRule.NOT_ENOUGH, "2.5 % more bits", "v2", -2.5, 8.47, 4.2)
    found = evolution(experiment_record(judged(verdict, CandidateStatus.REJECTED)))
    assert found["status"] == "rejected"
    assert found["metrics"] == {"bitrate_mbps": 8.47, "compression_ratio": 4.2}
    assert found["improvement"] == "2.5% worse than v2"
    assert found["rule"] == "not_enough"


def test_a_candidate_that_was_screened_out_has_an_estimate_but_no_metrics() -> None:
    screen = ScreenResult(0.97, {"city": 0.97}, "c0000", passed=False, reason="too little")
    closed = ev.CandidateClosed(
        **OF, status=CandidateStatus.REJECTED, reason="too little", experiment_id="x1"
    )
    record = experiment_record([*planned(), ev.Screened(**OF, attempt=0, result=screen), closed])
    assert not evolution(record)["metrics"]
    assert record["experiments"][0]["candidate"]["screen_rate_ratio"] == 0.97


def test_refusals_of_the_review_are_listed_by_attempt() -> None:
    refused = ev.Reviewed(
        **OF,
        attempt=0,
        accepted=False,
        findings=(Finding(GateRule.IMPORT, "no os", 3),),
    )
    record = experiment_record([*planned(), refused])
    (attempt,) = record["experiments"][0]["candidate"]["attempts"]
    assert attempt["findings"] == [{"rule": "import", "line": 3, "message": "no os"}]


def test_untrusted_detail_of_a_failure_stays_out_of_the_record() -> None:
    assert "secret" not in json.dumps(experiment_record(failed_events()))


def test_events_of_others_are_ignored() -> None:
    other = ev.CodeWritten(
        run_id="r", at=AT, candidate_id="c0002", attempt=3, source_sha256="f" * 64, program_bytes=1
    )
    assert experiment_record([*adopted_events(), other]) == experiment_record(adopted_events())


def test_every_record_is_plain_json() -> None:
    for events in (adopted_events(), failed_events(), planned()):
        record = experiment_record(events)
        assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_ids_are_the_same_each_time_and_differ_between_candidates_of_one_second() -> None:
    first, second = experiment_id([opening()]), experiment_id([opening(candidate_id="c0002")])
    assert first == experiment_id([opening()])
    assert first != second
    assert first.startswith("real_exp_1760664995_")


def test_timestamps_with_a_zone_are_written_in_utc() -> None:
    record = experiment_record([opening("2025-10-17T03:36:35.028+02:00")])
    assert record["timestamp"] == "2025-10-17T01:36:35.028"
    assert record["experiment_id"].startswith("real_exp_1760664995_")


def test_without_an_opening_there_is_no_record() -> None:
    with pytest.raises(ValueError, match="open no candidate"):
        experiment_record(planned()[1:])


def record_at(second: int, name: str = "") -> ExperimentRecord:
    return experiment_record([opening(f"2025-10-17T01:36:{second:02}.000", name or f"c{second}")])


def test_another_store_on_the_folder_sees_new_records(tmp_path: Path) -> None:
    reader, writer = FileRecordStore(tmp_path), FileRecordStore(tmp_path)
    writer.put(record_at(1))
    assert len(reader.latest(5)) == 1
    writer.put(record_at(2))
    assert [record["timestamp"][-6:] for record in reader.latest(5)] == ["02.000", "01.000"]


def test_a_foreign_file_among_the_records_is_skipped_with_a_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = FileRecordStore(tmp_path)
    records.put(record_at(1))
    (tmp_path / "notes.json").write_text("[1, 2]")
    assert len(records.latest(5)) == 1
    assert "notes.json" in caplog.text
    with pytest.raises(InfrastructureFailure, match="cannot be read"):
        records.get("notes")
