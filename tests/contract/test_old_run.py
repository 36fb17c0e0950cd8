"""A run that version 0.1 recorded is read and shown, and its resume is planned.

``tests/data/run_v0_1.sql`` is the ledger of a whole run of commit dea3821: a toy, one clip, three
candidates by mutation. Only paths of the machine were changed.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evocodec.app.run_plan import resumed_plan
from evocodec.app.workspace import Workspace
from evocodec.cli.main import application
from evocodec.config import load_settings
from evocodec.domain.beginning import ClusterFacts
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.events import Reviewed, RunStarted
from evocodec.domain.vocabulary import Proposer, ReviewerName, RunOutcome
from evocodec.store.event_json import event_from_json, event_to_json
from evocodec.store.sqlite.ledger import SqliteLedger
from evocodec.telemetry.metrics import RunMetrics
from evocodec.views.run_state import fold

OLD = Path(__file__).parents[1] / "data" / "run_v0_1.sql"
RUN = "run-20261130-152723-a060"
BASELINE = "4f9931da59c0485d65f62340ca1ad5e80653023c1336a0a9938e1420d896c07f"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with the old ledger in it."""
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as raw:
        raw.executescript(OLD.read_text())
    return tmp_path


@pytest.fixture
def ledger(workspace: Path) -> Iterator[SqliteLedger]:
    """The old ledger, opened by today's code."""
    with closing(SqliteLedger(workspace / "ledger.sqlite")) as opened:
        yield opened


def test_its_first_event_has_todays_fields(ledger: SqliteLedger) -> None:
    started = ledger.get(RUN, "run/started/0")
    assert isinstance(started, RunStarted)
    assert started.proposer is Proposer.MUTATION
    assert started.beginning is not None
    assert started.beginning.baselines == (BASELINE,)
    assert started.beginning.fixed.evaluation["screen_frames"] == 4
    assert started.cluster == ClusterFacts("127.0.0.1:36951", "127.0.0.1:8265", 2.0, 0.0, 0.0)
    assert "not a language model" in started.notice
    assert not {"run.fixed", "notice", "machine"} & started.settings.keys()


def test_what_is_read_is_written_and_read_again_alike(ledger: SqliteLedger) -> None:
    events = [event for _, event in ledger.events(RUN)]
    assert len(events) == 51
    assert [event_from_json(event_to_json(event)) for event in events] == events


def test_it_is_shown_as_it_was(ledger: SqliteLedger) -> None:
    view = fold(event for _, event in ledger.events(RUN))
    assert view.outcome is RunOutcome.FINISHED
    assert [candidate.status for candidate in view.candidates] == [
        CandidateStatus.ADOPTED,
        CandidateStatus.ADOPTED,
        CandidateStatus.REJECTED,
    ]
    assert view.elapsed_seconds > 10
    reviewers = {e.reviewer for _, e in ledger.events(RUN) if isinstance(e, Reviewed)}
    assert reviewers == {ReviewerName.GATE}


def test_its_reviews_are_counted(ledger: SqliteLedger) -> None:
    metrics = RunMetrics()
    for _, event in ledger.events(RUN):
        metrics.observe(event)
    text = metrics.exposition().decode()
    assert 'evocodec_stages_total{outcome="passed",stage="review"} 3.0' in text


def test_going_on_with_it_keeps_what_it_was_begun_with(
    ledger: SqliteLedger, workspace: Path
) -> None:
    today = load_settings(flags={"workspace": str(workspace), "run.seed": 99})
    plan = resumed_plan(RUN, today, Workspace(workspace), ledger)
    assert (plan.run_id, plan.resumed) == (RUN, 1)
    assert plan.baselines == (BASELINE,)
    assert plan.submission is None
    assert plan.settings.run.seed == 1
    assert plan.settings.evaluation.screen_frames == 4
    assert plan.settings.evaluation.clips == ("/clips/carphone_pristine.mp4@0-8:96x80",)
    assert plan.settings.judge.chance_first_below_mbps == 1000.0
    assert not plan.settings.held_out.enabled


@pytest.mark.parametrize("command", [["status"], ["ls"], ["show", "c0002"], ["log"], ["metrics"]])
def test_every_command_that_only_looks_reads_it(workspace: Path, command: list[str]) -> None:
    arguments = ["--workspace", str(workspace), *command]
    result = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1"}).invoke(application(), arguments)
    assert result.exit_code == 0, result.output
    assert result.output.strip()


def test_its_json_names_proposer_outcome_and_dashboard(workspace: Path) -> None:
    arguments = ["--workspace", str(workspace), "--json", "status"]
    result = CliRunner().invoke(application(), arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert (found["proposer"], found["outcome"]) == ("mutation", "finished")
    assert found["ray_dashboard"] == "127.0.0.1:8265"
