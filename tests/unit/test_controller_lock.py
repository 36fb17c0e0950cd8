"""Runs whose controller is gone, as whoever looks at them is told."""

import os
from pathlib import Path
from typing import Any, cast

import pytest

from evocodec.app.controller_lock import controlled, is_gone
from evocodec.app.recorded_metrics import RecordedMetrics
from evocodec.app.resolver import Resolver
from evocodec.app.workspace import Workspace
from evocodec.domain.vocabulary import RunOutcome, RunPhase
from evocodec.store.memory import MemoryBlobStore, MemoryLedger
from evocodec.views.progress import Progress
from evocodec.views.snapshot import Snapshots
from tests.support import sample_run


def recorded(events: list[Any]) -> MemoryLedger:
    ledger = MemoryLedger()
    for event in events:
        ledger.record(event)
    return ledger


def resolver(ledger: MemoryLedger, root: Path) -> Resolver:
    workspace, snapshots = Workspace(root), Snapshots(root / "views")
    return Resolver(ledger, MemoryBlobStore(), lambda: cast(Any, None), workspace, snapshots)


def test_a_run_is_interrupted_once_nobody_holds_its_lock(tmp_path: Path) -> None:
    ledger = recorded(sample_run.story())
    look = resolver(ledger, tmp_path)
    before = len(list(ledger.events(sample_run.RUN)))
    with controlled(Workspace(tmp_path).run(sample_run.RUN)):
        assert look.view().state is RunPhase.RUNNING
        following = Progress()
        position = look.advance(following, sample_run.RUN, 0)
        assert following.view().outcome is None
    view = look.view()
    assert (view.state, view.outcome) == (RunPhase.STOPPED, RunOutcome.INTERRUPTED)
    assert "ended without a word" in view.message
    assert look.advance(following, sample_run.RUN, position) == position
    assert following.phase is RunPhase.STOPPED
    assert len(list(ledger.events(sample_run.RUN))) == before, "a look records nothing"


def test_a_run_that_stopped_in_order_keeps_what_it_said(tmp_path: Path) -> None:
    look = resolver(recorded(sample_run.finished()), tmp_path)
    with controlled(Workspace(tmp_path).run(sample_run.RUN)):
        pass
    assert look.view().message == ""


def test_two_controllers_may_hold_a_run_and_one_is_enough(tmp_path: Path) -> None:
    with controlled(tmp_path):
        with controlled(tmp_path):
            assert not is_gone(tmp_path)
        assert not is_gone(tmp_path)
    assert is_gone(tmp_path)


def test_metrics_of_a_run_whose_controller_is_gone_say_that_it_was_interrupted() -> None:
    gone: list[bool] = []
    metrics = RecordedMetrics(
        recorded(sample_run.story()), sample_run.RUN, is_gone=lambda: bool(gone)
    )
    assert 'evocodec_run_state{state="running"} 1.0' in metrics.exposition().decode()
    gone.append(True)
    metrics.refresh()
    text = metrics.exposition().decode()
    assert 'evocodec_run_state{state="interrupted"} 1.0' in text
    assert 'evocodec_run_state{state="running"} 0.0' in text


@pytest.mark.parametrize("made", ["nothing", "another machine's", "a FIFO", "a link"])
def test_nobody_is_called_gone_of_whom_nothing_is_known(tmp_path: Path, made: str) -> None:
    lock = tmp_path / "controller.lock"
    if made == "another machine's":
        lock.write_text("elsewhere")
    elif made == "a FIFO":
        os.mkfifo(lock)
    elif made == "a link":
        with controlled(tmp_path / "other"):
            pass
        lock.symlink_to(tmp_path / "other" / "controller.lock")
    assert not is_gone(tmp_path)
