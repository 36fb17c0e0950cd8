"""A program from outside goes the same way as any other."""

from pathlib import Path

from evocodec.app.brief import write_brief
from evocodec.app.runs import perform_submission
from evocodec.domain.candidate import CandidateStatus, Origin
from evocodec.domain.errors import FailureKind
from tests.support.toy_laboratory import TOY, git, local_laboratory


def test_a_submitted_program_is_adopted_or_not_by_the_same_rules(tmp_path: Path) -> None:
    better, bad = tmp_path / "better.py", tmp_path / "bad.py"
    text = TOY.read_text()
    better.write_text(text.replace('PREDICTION = "none"', 'PREDICTION = "left"'))
    bad.write_text("import os\n" + text)
    with local_laboratory(tmp_path / "w") as lab:
        first = perform_submission(lab, str(better), "neighbours are alike")
        brief = write_brief(lab)
        with local_laboratory(tmp_path / "w", run__program="") as again:
            refused = perform_submission(again, str(bad), "reads the clock")
        commits = git(lab.workspace.champions, "log", "--format=%H").splitlines()
    assert [c.status for c in first.candidates] == [CandidateStatus.ADOPTED] * 2
    submitted = first.candidates[1]
    assert submitted.origin is Origin.SUBMITTED
    assert submitted.hypothesis == "neighbours are alike"
    assert first.proposer == "submission"
    assert len(commits) == 2

    assert refused.candidates[0].verdict
    assert refused.candidates[0].verdict.rule == "baseline"
    last = refused.candidates[-1]
    assert last.status is CandidateStatus.TEST_FAILED
    assert last.failure
    assert last.failure.kind == FailureKind.REVIEW
    assert len(refused.candidates) == 2

    assert 'PREDICTION = "left"' in brief
    assert "neighbours are alike" in brief
    assert "v2" in brief
