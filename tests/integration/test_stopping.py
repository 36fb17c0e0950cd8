"""Runs that are stopped or killed: what their ledger and a later look say of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evocodec.cli.exits import ExitCode
from evocodec.domain.events import RunStopped
from evocodec.domain.vocabulary import RunOutcome, RunPhase
from tests.support import scripted_model as scripted
from tests.support.toy_laboratory import TOY, WIDE, laboratory

ROOT = Path(__file__).resolve().parents[2]
PLAN = '{"hypothesis": "Neighbours are alike.", "steps": ["predict from the left"]}'
BETTER = TOY.read_text().replace('PREDICTION = "none"', 'PREDICTION = "left"')
# The command line, with threads in place of Ray, which takes seconds to start.
COMMAND = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from evocodec.app import runner
from evocodec.cli.main import entry
from evocodec.execution.engine import local_engine
runner.ray_engine = local_engine
entry()
"""


def never_reviews(handler: Any, asked: scripted.Asked) -> None:
    """Plan and write at once, and let every review wait."""
    if "You plan the next experiment" in asked.prompt:
        scripted.says(PLAN)(handler, asked)
    elif "You review one Python program" in asked.prompt:
        scripted.slow(300)(handler, asked)
    else:
        scripted.code(BETTER)(handler, asked)


def start_run(workspace: Path, base_url: str) -> subprocess.Popen[bytes]:
    """A run in a process group of its own, as below a terminal."""
    settings = {
        **WIDE,
        "evaluation.clips": str(WIDE["evaluation.clips"]).replace("'", '"'),
        "model.base_url": base_url,
        "model.model": "scripted",
        "model.stream": "false",
        "run.slots": 1,
        "run.ahead": 0,
        "run.candidates": 2,
    }
    flags = [f"--set={name}={value}" for name, value in settings.items()]
    return subprocess.Popen(
        [*(sys.executable, "-c", COMMAND, str(ROOT), "-w", str(workspace), "run"), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("signals", "recorded"),
    [
        # Two of one number would be one to the kernel.
        ([signal.SIGINT, signal.SIGTERM], True),
        ([signal.SIGHUP], True),
        ([signal.SIGKILL], False),
    ],
    ids=["two signals at once", "closed terminal", "killed"],
)
def test_a_run_that_ends_in_a_review_is_interrupted_and_not_running(
    tmp_path: Path, signals: list[signal.Signals], recorded: bool
) -> None:
    with scripted.scripted_endpoint([never_reviews]) as endpoint:
        process = start_run(tmp_path, endpoint.base_url)
        with process:
            wait_for(
                lambda: any("You review" in asked.prompt for asked in endpoint.requests), process
            )
            with laboratory(tmp_path) as lab:
                assert lab.resolver.view().state is RunPhase.RUNNING
            for number in signals:
                os.killpg(process.pid, number)
            output = process.communicate()[0].decode()
    with laboratory(tmp_path) as lab:
        view = lab.resolver.view()
        events = [event for _, event in lab.resolver.events()]
    assert (view.state, view.outcome) == (RunPhase.STOPPED, RunOutcome.INTERRUPTED)
    assert [candidate.candidate_id for candidate in view.in_flight] == ["c0002"]
    assert any(isinstance(event, RunStopped) for event in events) is recorded
    if recorded:
        assert process.returncode == ExitCode.INTERRUPTED, output
        assert f"run --resume {view.run_id}" in output
