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

from evocodec.domain.events import Adopted, HeldOutTested, ModelCalled, PointMeasured
from evocodec.domain.results import Stage
from tests.integration.test_model_run import BETTER, by_role
from tests.support import scripted_model as scripted
from tests.support.toy_laboratory import WIDE, git, laboratory

BEST = BETTER.replace('PREDICTION = "left"', 'PREDICTION = "previous"').replace(
    "STEP_SCALE = 1.0", "STEP_SCALE = 2.0"
)


def command(workspace: Path, base_url: str, *more: str) -> list[str]:
    settings = WIDE | {
        "model.base_url": base_url,
        "model.model": "scripted",
        "model.model_review": False,
        "run.slots": 1,
        "run.ahead": 0,
        "run.candidates": 3,
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


@pytest.mark.parametrize(
    "moment",
    [
        is_event("planned", "c0002"),
        is_event("point_measured", "c0002", stage="full"),
        is_event("judged", "c0002"),
    ],
    ids=["while coding", "in the full evaluation", "before the adoption"],
)
def test_a_killed_run_resumes_without_losing_or_repeating(
    tmp_path: Path, moment: Callable[[dict[str, Any]], bool]
) -> None:
    workspace = tmp_path / "w"
    replies = [scripted.code(BETTER), scripted.code(BEST)]
    with scripted.scripted_endpoint([by_role(replies)]) as endpoint:
        started = kill_when(command(workspace, endpoint.base_url), moment)
        with laboratory(workspace) as lab:
            before = list(lab.resolver.events())
        done = subprocess.run(
            command(workspace, endpoint.base_url, "--resume"),
            check=False,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        asked = len(endpoint.requests)
    with laboratory(workspace) as lab:
        events, view = list(lab.resolver.events()), lab.resolver.view()
        commits = git(lab.workspace.champions, "log", "--format=%H").splitlines()
        records = [lab.records.get(c.experiment_id) for c in view.candidates]
    assert view.outcome == "finished"
    assert view.resumed == 1
    assert events[: len(before)] == before
    assert [c.candidate_id for c in view.candidates] == ["c0001", "c0002", "c0003"]
    assert all(not candidate.running for candidate in view.candidates)
    assert len(records) == 3
    adopted = [event for _, event in events if isinstance(event, Adopted)]
    assert [event.commit for event in adopted] == commits[::-1]
    assert len(adopted) == len(view.versions) >= 2
    calls = [event for _, event in events if isinstance(event, ModelCalled)]
    # The call that was under way when the run was killed was never answered to anybody.
    assert len(calls) <= asked <= len(calls) + 1
    points = [event.key for _, event in events if isinstance(event, PointMeasured)]
    assert len(points) == len(set(points))
    assert wait_until_gone(started) == []


def test_a_run_killed_at_the_held_out_gate_goes_on_with_the_same_draw(tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    gate = [
        *("--set", "held_out.enabled=true", "--set", "held_out.derived=2"),
        *("--set", "held_out.frames=4", "--set", "run.candidates=2"),
    ]
    moment = is_event("point_measured", "c0002", stage="held_out")
    with scripted.scripted_endpoint([by_role([scripted.code(BETTER)])]) as endpoint:
        kill_when(command(workspace, endpoint.base_url, *gate), moment)
        done = subprocess.run(
            command(workspace, endpoint.base_url, *gate, "--resume"),
            check=False,
            capture_output=True,
            text=True,
            timeout=200,
        )
    assert done.returncode == 0, done.stderr
    with laboratory(workspace) as lab:
        events = [event for _, event in lab.resolver.events()]
        versions = lab.resolver.view().versions
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
    assert len(versions) == sum(event.result.passed for event in gates)


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
