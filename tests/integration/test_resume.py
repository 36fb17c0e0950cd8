"""A run killed with SIGKILL goes on where it stopped: nothing lost, nothing done twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from evocodec.domain.events import Adopted, Event, HeldOutTested, ModelCalled, PointMeasured
from evocodec.domain.results import Stage
from tests.integration.test_model_run import BETTER, by_role
from tests.support import scripted_model as scripted
from tests.support.toy_laboratory import WIDE, git, laboratory

pytestmark = pytest.mark.timeout(900)  # three starts of Ray and of a run


def command(workspace: Path, base_url: str, *more: str) -> list[str]:
    settings = WIDE | {
        "model.base_url": base_url,
        "model.model": "scripted",
        "model.preflight": False,  # or each resume asks the endpoint once more
        "model.model_review": False,
        "run.slots": 1,
        "run.ahead": 0,
        "run.candidates": 2,
    }
    flags = [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
    program = "from evocodec.cli.main import entry; entry()"
    workspace_flag = ["--workspace", str(workspace)]
    return [sys.executable, "-c", program, *workspace_flag, *flags, "run", "--json", *more]


def kill_when(arguments: list[str], reached: Callable[[dict[str, Any]], bool]) -> list[int]:
    """Start a run, SIGKILL it at that event, and return what it had started."""
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if reached(json.loads(line)):
                children = [c.pid for c in psutil.Process(process.pid).children(recursive=True)]
                os.kill(process.pid, signal.SIGKILL)
                return children
    raise AssertionError("the run ended before the moment of the kill")


def is_event(kind: str, candidate: str, **fields: str) -> Callable[[dict[str, Any]], bool]:
    def check(event: dict[str, Any]) -> bool:
        return (
            event.get("kind") == kind
            and event.get("candidate_id") == candidate
            and all(event.get(name) == value for name, value in fields.items())
        )

    return check


def test_a_run_killed_twice_resumes_without_losing_or_repeating(tmp_path: Path) -> None:
    """In the full evaluation, and at the held-out gate; test_resume_anywhere.py cuts everywhere."""
    workspace = tmp_path / "w"
    gate = [
        *("--set", "held_out.enabled=true", "--set", "held_out.derived=2"),
        *("--set", "held_out.frames=4", "--set", "held_out.keep=0.0"),
    ]
    replies = [scripted.code(BETTER)]
    with scripted.scripted_endpoint([by_role(replies)]) as endpoint:
        arguments = command(workspace, endpoint.base_url, *gate)
        started = kill_when(arguments, is_event("point_measured", "c0002", stage="full"))
        first = events_in(workspace)
        started += kill_when(
            [*arguments, "--resume"], is_event("point_measured", "c0002", stage="held_out")
        )
        second = events_in(workspace)
        done = subprocess.run(
            [*arguments, "--resume"], check=False, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
        asked = len(endpoint.requests)
    with laboratory(workspace) as lab:
        events, view = events_in(workspace), lab.resolver.view()
        log = git(lab.workspace.champions, "log", "--format=%H") if view.versions else ""
        records = [lab.records.get(c.experiment_id) for c in view.candidates]
    assert view.outcome == "finished"
    assert view.resumed == 2
    assert second[: len(first)] == first
    assert events[: len(second)] == second
    assert [c.candidate_id for c in view.candidates] == ["c0001", "c0002"]
    assert all(not candidate.running for candidate in view.candidates)
    assert len(records) == 2
    adopted = [event for event in events if isinstance(event, Adopted)]
    assert [event.commit for event in adopted] == log.splitlines()[::-1]
    # The call that was under way when the run was killed was never answered to anybody.
    calls = sum(isinstance(event, ModelCalled) for event in events)
    assert calls <= asked <= calls + 1
    points = [event for event in events if isinstance(event, PointMeasured)]
    assert len({event.key for event in points}) == len(points)
    gates = [event for event in events if isinstance(event, HeldOutTested)]
    assert [event.candidate_id for event in gates] == ["c0001", "c0002"]
    drawn = {event.point.clip for event in points if event.stage is Stage.HELD_OUT}
    # Two clips for each gate: a resumed gate that drew anew would have left others.
    assert len(drawn) == 4
    for event in gates:
        assert sum(event.result.seed_sha256[:8] in clip for clip in drawn) == 2
    assert gates[0].result.seed_sha256 != gates[1].result.seed_sha256
    assert len(adopted) == len(view.versions) == sum(event.result.passed for event in gates)
    assert wait_until_gone(started) == []


def events_in(workspace: Path) -> list[Event]:
    with laboratory(workspace) as lab:
        return [event for _, event in lab.resolver.events()]


def wait_until_gone(pids: list[int]) -> list[int]:
    """What is left of a killed run a minute later.

    Ray's own agents are left out: they look for their parent only now and then, and hold nothing.
    """
    deadline = time.monotonic() + 60
    left = pids
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if _matters(pid)]
        time.sleep(0.2)
    return left


def _matters(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        agent = any("agent" in part for part in [process.name(), *process.cmdline()])
        return process.status() != psutil.STATUS_ZOMBIE and not agent
    except psutil.NoSuchProcess:
        return False
