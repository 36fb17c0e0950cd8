"""Reviewer, model and origin of a program reach the ledger, the record, the commit, the metrics.

One run with a model that also reviews, and a replay of it beside another repository.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from evocodec.app.recorded_metrics import RecordedMetrics
from evocodec.app.runs import perform_run
from evocodec.domain.candidate import CandidateStatus, Origin
from evocodec.domain.events import CodeWritten, Event, Planned, Reviewed
from evocodec.domain.vocabulary import ReviewerName
from evocodec.views.run import RunView
from tests.support import scripted_model as scripted
from tests.support.toy_laboratory import TOY, git, local_laboratory

SOURCE = TOY.read_text()
BETTER = SOURCE.replace('PREDICTION = "none"', 'PREDICTION = "left"')
SUSPECT = BETTER.replace('= "left"', '= "previous"')
UNSAFE = "import os\n" + BETTER
PLAN = '{"hypothesis": "Neighbours are alike.", "steps": ["predict from the left"]}'
OBJECTION = '{"findings": [{"rule": "cheating", "line": 3, "message": "a stored clip"}]}'


def colleagues(programs: list[str]) -> scripted.Behaviour:
    """A planner, a coder who writes these programs in order, and a reviewer of one of them."""
    left = [scripted.code(program) for program in programs]

    def behave(handler: Any, asked: scripted.Asked) -> None:
        if "You plan the next experiment" in asked.prompt:
            action = scripted.says(PLAN)
        elif "You review one Python program" in asked.prompt:
            suspect = 'PREDICTION = "previous"' in asked.prompt
            action = scripted.says(OBJECTION if suspect else '{"findings": []}')
        else:
            action = left.pop(0)
        action(handler, asked)

    return behave


@dataclass(frozen=True)
class RecordedRun:
    """What is left of a run: its view, its events, its metrics, its records and its commit."""

    view: RunView
    events: list[Event]
    counted: dict[tuple[str, frozenset[tuple[str, str]]], float]
    records: dict[str, Any]
    trailers: str

    def of(self, kind: type[Event], candidate_id: str) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind) and e.candidate_id == candidate_id]


def record_run(workspace: Path, **changes: Any) -> RecordedRun:
    options: dict[str, Any] = {
        "model__model_review": True,
        "run__slots": 1,
        "run__ahead": 0,
        "run__candidates": 4,
        "run__max_repairs": 0,
        "run__max_revisions": 0,
    }
    with local_laboratory(workspace, **(options | changes)) as lab:
        view = perform_run(lab)
        exposition = RecordedMetrics(lab.ledger, lab.resolver.run_id()).exposition().decode()
        records = {
            c.candidate_id: record
            for c in view.candidates
            if (record := lab.records.get(c.experiment_id)) is not None
        }
        return RecordedRun(
            view=view,
            events=[event for _, event in lab.resolver.events()],
            counted={
                (sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(exposition)
                for sample in family.samples
            },
            records=records,
            trailers=git(
                lab.champions.path, "log", "-1", "--format=%(trailers:only,unfold)", "HEAD"
            ),
        )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[RecordedRun, RecordedRun]:
    """The run with the model: baseline, two refused programs and a good one; and its replay."""
    workspace = tmp_path_factory.mktemp("told")
    script = colleagues([UNSAFE, SUSPECT, BETTER])
    with scripted.scripted_endpoint([script]) as endpoint:
        first = record_run(
            workspace / "w", model__base_url=endpoint.base_url, model__model="scripted-9b"
        )
    # Elsewhere, so that what the first run adopted is not known there already.
    (workspace / "again").mkdir()
    replayed = record_run(
        workspace / "w", run__replay=first.view.run_id, champions__path=str(workspace / "again")
    )
    return first, replayed


@pytest.fixture
def run(runs: tuple[RecordedRun, RecordedRun]) -> RecordedRun:
    return runs[0]


@pytest.fixture
def replay(runs: tuple[RecordedRun, RecordedRun]) -> RecordedRun:
    return runs[1]


def test_the_ledger_says_which_reviewer_refused(run: RecordedRun) -> None:
    static, model, good = (
        [(r.reviewer, r.accepted) for r in run.of(Reviewed, name)]
        for name in ("c0002", "c0003", "c0004")
    )
    assert static == [(ReviewerName.STATIC, False)]
    assert model == [(ReviewerName.MODEL, False)]
    assert good == [(ReviewerName.MODEL, True)]


def test_the_metrics_count_the_programs_that_came_through_the_review(run: RecordedRun) -> None:
    def stages(outcome: str) -> float:
        labels = frozenset({("stage", "review"), ("outcome", outcome)})
        return run.counted["evocodec_stages_total", labels]

    assert stages("passed") == 2  # the baseline and the good one
    assert stages("failed") == 2


def test_the_model_that_wrote_is_in_the_ledger_the_record_and_the_commit(run: RecordedRun) -> None:
    good = run.view.candidates[-1]
    assert good.status is CandidateStatus.ADOPTED, good.reason
    assert [event.model for event in run.of(CodeWritten, "c0004")] == ["scripted-9b"]
    assert [event.model for event in run.of(CodeWritten, "c0001")] == [""]
    assert run.records["c0004"]["experiments"][0]["candidate"]["model"] == "scripted-9b"
    assert "Evocodec-Model: scripted-9b" in run.trailers.splitlines()
    assert "Evocodec-Origin: model" in run.trailers.splitlines()


def test_what_is_replayed_says_so_and_which_model_once_wrote_it(replay: RecordedRun) -> None:
    good = replay.view.candidates[-1]
    assert good.status is CandidateStatus.ADOPTED, good.reason
    assert good.origin is Origin.REPLAY
    assert [e.origin for e in replay.of(Planned, "c0004")] == [Origin.REPLAY]
    assert [e.origin for e in replay.of(Planned, "c0001")] == [Origin.SEED]
    assert replay.records["c0004"]["experiments"][0]["candidate"]["origin"] == "replay"
    assert "Evocodec-Origin: replay" in replay.trailers.splitlines()
    assert "Evocodec-Model: scripted-9b" in replay.trailers.splitlines()
