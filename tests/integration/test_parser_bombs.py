"""A text that takes for ever to read: a finding on every way in, and no run is lost to it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from evocodec.app.evaluation import evaluate
from evocodec.app.evaluation_request import EvaluationRequest
from evocodec.app.runs import perform_run, perform_submission
from evocodec.domain.candidate import CandidateStatus
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.events import CodeWritten
from evocodec.domain.results import Stage
from evocodec.views.candidate import CandidateView
from tests.support.toy_laboratory import TOY, local_laboratory

# Python compares each keyword with all before it, while it parses: the process that reads it is
# ended at its limit of processor time.
BOMB = f"f({', '.join(f'a{number}=0' for number in range(20_000))})\n" + TOY.read_text()


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, in a folder where the workspace that all tests share is made."""
    path = tmp_path_factory.mktemp("bombs") / "bomb.py"
    path.write_text(BOMB)
    return path


def assert_refused(candidate: CandidateView) -> None:
    assert candidate.status is CandidateStatus.TEST_FAILED
    assert candidate.score is None
    failure = candidate.failure
    assert failure is not None
    assert (failure.stage, failure.kind) == (Stage.REVIEW, FailureKind.REVIEW)
    assert "more than 2 s of CPU time" in failure.message


def test_eval_says_that_the_review_refuses_it(bomb: Path) -> None:
    with (
        local_laboratory(bomb.with_name("w")) as lab,
        pytest.raises(CandidateFailure, match="static review refuses") as refused,
    ):
        evaluate(lab, str(bomb), EvaluationRequest())
    assert "more than 2 s of CPU time" in refused.value.detail


def test_a_run_that_begins_with_it_ends_and_keeps_the_finding(bomb: Path) -> None:
    with local_laboratory(bomb.with_name("w"), run__program=str(bomb), run__candidates=1) as lab:
        (candidate,) = perform_run(lab).candidates
    assert_refused(candidate)


def test_a_submission_that_is_cut_before_its_review_resumes_and_keeps_the_finding(
    bomb: Path,
) -> None:
    workspace = bomb.with_name("w")
    with local_laboratory(workspace) as lab:
        whole = perform_submission(lab, str(bomb), "a bomb")
        written = [
            position
            for position, event in lab.ledger.events(whole.run_id)
            if isinstance(event, CodeWritten) and event.candidate_id == "c0002"
        ]
    assert_refused(whole.candidates[1])
    with closing(sqlite3.connect(workspace / "ledger.sqlite")) as database, database:
        database.execute("DELETE FROM events WHERE position > ?", (written[-1],))
    with local_laboratory(workspace) as lab:
        assert lab.resolver.view(whole.run_id).candidates[1].running
        resumed = perform_run(lab, resume=whole.run_id)
    assert resumed.outcome == "finished"
    assert_refused(resumed.candidates[1])
