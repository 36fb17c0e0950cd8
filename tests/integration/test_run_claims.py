"""Whose run it is: who could not begin it does not end it either."""

import threading
from pathlib import Path

import pytest
from lab import laboratory

from evocodec.app.observing import RunWatch
from evocodec.app.running import Runner, RunPlan, Stores
from evocodec.domain.errors import UserError
from evocodec.domain.events import RunStarted


def test_a_resume_that_cannot_begin_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    missing = tmp_path / "gone.y4m"
    with laboratory(tmp_path / "w", evaluation__clips=[str(missing)]) as opened:
        started = RunStarted(
            run_id="run-20261017-013635-4f0c", at="2026-10-17T01:36:35.000", proposer="mutation",
            seed=1, clips=(), settings={}, software={}, isolation={},
        )  # fmt: skip
        opened.ledger.record(started)  # and it goes on, in another process
        runner = Runner(
            RunPlan(started.run_id, 1, opened.settings, opened.workspace, ()),
            Stores(opened.ledger, opened.blobs, opened.records, opened.champions),
            (),
            threading.Event(),
            RunWatch(),
        )
        with pytest.raises(UserError, match="no such file"):
            runner.run()
        assert [event for _, event in opened.events(started.run_id)] == [started]
