"""Whose run it is: who could not begin it does not end it either."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from evocodec.app.run_plan import RunPlan
from evocodec.app.run_watch import RunWatch
from evocodec.app.runner import Runner, RunStores
from evocodec.app.runs import perform_run
from evocodec.domain.errors import SupersededError, UserError
from evocodec.domain.events import CandidateClosed, Event, RunStarted
from evocodec.domain.vocabulary import Proposer, RunOutcome
from tests.support.toy_laboratory import local_laboratory


def test_a_resume_that_cannot_begin_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    missing = tmp_path / "gone.y4m"
    with local_laboratory(tmp_path / "w", evaluation__clips=[str(missing)]) as opened:
        started = RunStarted(
            run_id="run-20261017-013635-4f0c", at="2026-10-17T01:36:35.000",
            proposer=Proposer.MUTATION, seed=1, clips=(), settings={}, software={}, isolation={},
        )  # fmt: skip
        opened.ledger.record(started)  # and it goes on, in another process
        runner = Runner(
            RunPlan(started.run_id, 1, opened.settings, opened.workspace, ()),
            RunStores(opened.ledger, opened.blobs, opened.records, opened.champions),
            (),
            threading.Event(),
            RunWatch(),
        )
        with pytest.raises(UserError, match="no such file"):
            runner.run()
        assert [event for _, event in opened.resolver.events(started.run_id)] == [started]


def test_a_controller_whose_run_was_resumed_elsewhere_lets_go_of_it(tmp_path: Path) -> None:
    """As one that was thought dead, behind a network that has come back."""
    with local_laboratory(tmp_path / "w", run__candidates=6) as opened:

        def take_over(event: Event) -> None:
            if isinstance(event, CandidateClosed):
                [started] = [
                    one for _, one in opened.ledger.events(event.run_id, kinds=("run_started",))
                ]
                assert isinstance(started, RunStarted)
                opened.ledger.record(replace(started, resumed=1))

        with pytest.raises(SupersededError, match="resumed elsewhere"):
            perform_run(opened, listeners=[take_over])
        [run_id] = opened.ledger.runs()
        kinds = [event.kind for _, event in opened.resolver.events(run_id)]
        after = kinds[len(kinds) - kinds[::-1].index("run_started") :]
        assert not {"candidate_opened", "judged", "adopted", "candidate_closed"} & set(after)
        assert "run_stopped" not in kinds
        assert opened.resolver.view(run_id).candidates
        # The controller that took over is only pretended: no process holds the run.
        assert opened.resolver.view(run_id).outcome is RunOutcome.INTERRUPTED
