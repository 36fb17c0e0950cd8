"""A run cut after any of its events goes on from the ledger alone, and ends as if nothing had been.

One run is recorded whose candidates are refused, revised, repaired, duplicates, screened out,
vetoed and adopted. At each event the workspace is copied, as a SIGKILL would leave it. Each copy
that differs from its neighbours is then resumed by a new laboratory, some to the end of the run,
most to the end of the candidate that was under way: from there on a copy is one of the others.
Model, stores and git are real; programs run in this process, and what a job gave is remembered:
sandboxes have tests of their own, and this takes a hundred resumes.
"""

import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from evocodec.app import run_plan, runner
from evocodec.app.runs import perform_run
from evocodec.codec.container import EvcHeader, write_evc
from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.domain.events import (
    Adopted,
    AttemptFailed,
    CandidateClosed,
    CandidateOpened,
    Event,
    HeldOutTested,
    InfrastructureRetried,
    ModelCalled,
    PointMeasured,
    RunStarted,
    RunStopped,
    StageStarted,
)
from evocodec.domain.results import Cost, RatePoint
from evocodec.domain.vocabulary import Layer
from evocodec.execution.contract import EngineInfo, OnPoint, OnRetry
from evocodec.execution.jobs import RateJob
from evocodec.metrics.meter import measure
from evocodec.sandbox.launcher import IsolationReport
from evocodec.store.event_json import event_to_json
from evocodec.store.sqlite.ledger import SqliteLedger
from evocodec.video.clips import Clip
from tests.integration.test_model_run import BETTER, TOY_SOURCE
from tests.support import scripted_model as scripted
from tests.support.toy_laboratory import git, laboratory

SUSPECT = "# stored copies of known clips\n"
BEST = BETTER.replace('PREDICTION = "left"', 'PREDICTION = "previous"').replace(
    "STEP_SCALE = 1.0", "STEP_SCALE = 2.0"
)
FIRST_LINE = "    step = step_of(qp)\n    yield"
PROGRAMS: dict[tuple[int, int], str] = {
    (2, 0): "import os\n" + BETTER,
    (2, 1): BETTER.replace(FIRST_LINE, f"    raise ValueError('no')\n{FIRST_LINE}"),
    (2, 2): BETTER,
    (3, 0): "",
    (3, 1): BETTER + "\n# a remark\n",
    (3, 2): SUSPECT + BEST.replace("STEP_SCALE = 2.0", "STEP_SCALE = 1.5"),
    (3, 3): BEST.replace("STEP_SCALE = 2.0", "STEP_SCALE = 1.8"),
    (5, 0): TOY_SOURCE.replace("REACH = 300", "REACH = 299"),
    (6, 0): BEST,
}
"""What the model writes, by candidate and attempt; the fourth candidate gets no plan."""
CANDIDATES = 6
PARTS = 6  # of the resumes, so that none takes minutes
TO_THE_END = 15  # every so many copies one goes on to the end of the run


def answer(prompt: str) -> str:
    """What the model says: it depends on the question alone, however often and when it is asked."""
    if "You plan the next experiment" in prompt:
        number = int(re.findall(r"Plan experiment (\d+) now", prompt)[0])
        return (
            "..."
            if number == 4
            else json.dumps({"hypothesis": f"Experiment {number}.", "steps": ["Write it."]})
        )
    if "A rule has decided" in prompt:
        veto = "v2" in prompt  # the third candidate, which would follow the second's version
        return json.dumps({"veto": veto, "reason": "so it is"})
    if "You review one Python program" in prompt:
        found = [{"rule": "cheating", "line": 1, "message": "stored copies"}]
        return json.dumps({"findings": found if SUSPECT in prompt else []})
    number = int(re.findall(r"Hypothesis: Experiment (\d+)", prompt)[0])
    again = "1" if "No program came of your reply" in prompt else "0"
    attempt = int((re.findall(r"this is attempt (\d+)", prompt) or [again])[0])
    program = PROGRAMS[number, attempt]
    return f"Here it is.\n\n```python\n{program}\n```" if program else "I would use a wavelet."


def behave(handler: Any, asked: scripted.Asked) -> None:
    scripted.says(answer(asked.prompt))(handler, asked)


@dataclass
class InProcess:
    """An engine without sandboxes, for programs that are our own: each job is run once, here."""

    clips: dict[str, Clip] = field(default_factory=dict)
    points: dict[tuple[str, RateJob], RatePoint] = field(default_factory=dict)
    asked: list[tuple[str, RateJob]] = field(default_factory=list)

    def start(self) -> EngineInfo:
        isolation = IsolationReport({layer.value: "on" for layer in Layer})
        return EngineInfo(
            address="here", dashboard_url="", cpus=1.0, gpus=0.0, own=True, isolation=isolation
        )

    def put_clip(self, clip: Clip) -> None:
        self.clips[clip.name] = clip

    def slots(self) -> int:
        return 1

    def busy(self) -> int:
        return 0

    def waiting(self) -> int:
        return 0

    def run_jobs(
        self,
        candidate_id: str,
        source: str,
        jobs: Sequence[RateJob],
        *,
        on_point: OnPoint,
        on_retry: OnRetry,
        stop: threading.Event | None = None,
        verify: bool = False,
    ) -> None:
        for job in jobs:
            self.asked.append((candidate_id, job))
            if (source, job) not in self.points:
                self.points[source, job] = self._measure(source, job)
            on_point(job, replace(self.points[source, job], verified=verify))

    def _measure(self, source: str, job: RateJob) -> RatePoint:
        clip = self.clips[job.clip]
        reference = clip.frames[: job.frames]
        stream = replace(clip.stream, frame_count=job.frames)
        program: dict[str, Any] = {}
        exec(source, program)
        try:
            packets = list(program["encode"](iter(reference), stream, job.qp))
        except ValueError as error:
            raise CandidateFailure(FailureKind.EXCEPTION, str(error)) from error
        quality, series = measure(reference, tuple(program["decode"](iter(packets), stream)))
        file = io.BytesIO()
        size = write_evc(file, EvcHeader("v0", stream), packets)
        return RatePoint(
            job.clip,
            job.qp,
            8 * size,
            job.frames,
            quality,
            Cost(1.0, 1.0, 1.0, 1.0, 1, job.frames),
            hashlib.sha256(file.getvalue()).hexdigest(),
            series=series,
        )

    def close(self) -> None:
        """Goes on for the next laboratory."""


@pytest.fixture(scope="module")
def engine() -> Iterator[InProcess]:
    """In place of a Ray for each laboratory; what the gate draws is the same in every run."""
    with pytest.MonkeyPatch.context() as patch:
        engine = InProcess()
        patch.setattr(runner, "ray_engine", lambda *_, **__: engine)
        patch.setattr(run_plan, "new_secret", lambda: b"a secret that all of them know, 32")
        yield engine


def settings(base_url: str, *, candidates: int = CANDIDATES) -> dict[str, Any]:
    return {
        "model__base_url": base_url,
        "model__model": "scripted",
        "model__preflight": False,  # or each resume asks the endpoint once more
        "model__model_review": True,
        "model__model_judge": True,
        "run__candidates": candidates,
        "run__slots": 1,
        "run__ahead": 0,
        "run__max_repairs": 2,
        "run__max_revisions": 2,
        "held_out__enabled": True,
        "held_out__derived": 1,
        "held_out__derived_most": 1,
        "held_out__frames": 4,
        "held_out__keep": 0.0,
    }


@dataclass(frozen=True)
class Copy:
    """A workspace as it was when ``events`` were recorded; ``after`` names the last thing done."""

    workspace: Path
    events: int
    after: str


@dataclass(frozen=True)
class Recorded:
    events: tuple[Event, ...]
    asked: int
    jobs: tuple[tuple[str, RateJob], ...]
    copies: tuple[Copy, ...]


# Between what is done and what is recorded of it, git and the records know more than the ledger.
SIDE_EFFECTS = ("adopted", "candidate_closed")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, engine: InProcess) -> Recorded:
    root = tmp_path_factory.mktemp("whole")
    copies: list[Copy] = []
    record = SqliteLedger.record

    def copy(events: int, after: str) -> None:
        target = root / f"{len(copies):03}"
        copy_workspace(root / "w", target)
        copies.append(Copy(target, events, after))

    count = 0

    def recording(self: SqliteLedger, event: Event) -> bool:
        nonlocal count
        if event.kind in SIDE_EFFECTS:
            copy(count, f"what {event.key} says, before it is recorded")
        new = record(self, event)
        if new:
            count += 1
            if not isinstance(event, RunStopped):
                copy(count, event.key)
        return new

    with scripted.scripted_endpoint([behave]) as endpoint:
        with (
            pytest.MonkeyPatch.context() as patch,
            laboratory(root / "w", **settings(endpoint.base_url)) as lab,
        ):
            patch.setattr(SqliteLedger, "record", recording)
            engine.asked.clear()
            view = perform_run(lab)
            events = tuple(event for _, event in lab.resolver.events())
        assert view.outcome == "finished", view
        return Recorded(events, len(endpoint.requests), tuple(engine.asked), tuple(copies))


def copy_workspace(workspace: Path, target: Path) -> None:
    """The ledger through SQLite, whose files may be in the middle of something; blobs as links."""
    target.mkdir()
    with (
        sqlite3.connect(workspace / "ledger.sqlite") as old,
        sqlite3.connect(target / "ledger.sqlite") as new,
    ):
        old.backup(new)
    for path in workspace.iterdir():
        if path.name == "cache":  # the same anchors
            (target / "cache").symlink_to(path)
        elif path.is_dir():
            link = path.name == "blobs"
            shutil.copytree(
                path, target / path.name, copy_function=os.link if link else shutil.copy2
            )


def essence(event: Event) -> dict[str, Any]:
    """What must be the same, whenever and in however many parts it was done."""
    body: dict[str, Any] = json.loads(event_to_json(event))
    for name in ("at", "wall_seconds", "commit", "experiment_id", "cached"):
        body.pop(name, None)
    for name in ("encode_time_ratio", "decode_time_ratio"):  # over the anchor's, of this hour
        body.get("score", {}).pop(name, None)
    return body


def lasting(events: Sequence[Event]) -> dict[str, dict[str, Any]]:
    """Events by key, but for those that count beginnings and ends of runs and stages."""
    return {
        event.key: essence(event)
        for event in events
        if not isinstance(event, RunStarted | RunStopped | StageStarted | InfrastructureRetried)
    }


def count(events: Sequence[Event], kind: type[Event]) -> int:
    return sum(isinstance(event, kind) for event in events)


def candidates_until_settled(before: Sequence[Event]) -> int:
    """How many candidates there are when the one under way has ended, or else the next one."""
    opened, closed = count(before, CandidateOpened), count(before, CandidateClosed)
    return min(opened + (opened == closed), CANDIDATES)


def until(events: Sequence[Event], candidates: int) -> tuple[Event, ...]:
    """The events of the first candidates, one of which ends before the next one begins."""
    closed = 0
    for index, event in enumerate(events):
        closed += isinstance(event, CandidateClosed)
        if closed == candidates:
            return tuple(events[: index + 1])
    raise AssertionError(f"{candidates} candidates did not end")


def test_the_recorded_run_has_all_that_can_happen(recorded: Recorded) -> None:
    kinds = {type(event) for event in recorded.events}
    assert {Adopted, AttemptFailed, HeldOutTested, ModelCalled, PointMeasured} <= kinds
    failures = [event.failure for event in recorded.events if isinstance(event, AttemptFailed)]
    assert failures == [
        *("review", "exception"),
        *("no_code", "duplicate", "review"),
        "no_code",
    ]
    closed = [event for event in recorded.events if isinstance(event, CandidateClosed)]
    assert len(closed) == CANDIDATES
    assert recorded.asked == count(recorded.events, ModelCalled)


def differs_from_its_neighbours(recorded: Recorded, copy: Copy) -> bool:
    """Not where a stage has just been begun, nor between the points in the middle of one."""
    around = recorded.events[max(0, copy.events - 2) : copy.events + 1]
    if len(around) < 3:
        return True
    inside = all(isinstance(event, PointMeasured) for event in around)
    return not (inside or isinstance(around[1], StageStarted))


@pytest.mark.parametrize("part", range(PARTS))
def test_a_run_cut_anywhere_resumes_to_the_same_end(
    recorded: Recorded, engine: InProcess, part: int
) -> None:
    copies = [copy for copy in recorded.copies if differs_from_its_neighbours(recorded, copy)]
    assert len(copies) > 0.6 * len(recorded.events) > PARTS
    for number in range(part, len(copies), PARTS):
        copy = copies[number]
        before = recorded.events[: copy.events]
        whole = number % TO_THE_END == 0
        candidates = CANDIDATES if whole else candidates_until_settled(before)
        to_come = until(recorded.events, candidates)
        wanted = lasting(to_come)
        with scripted.scripted_endpoint([behave]) as endpoint:
            engine.asked.clear()
            changes = settings(endpoint.base_url, candidates=candidates)
            with laboratory(copy.workspace, **changes) as lab:
                view = perform_run(lab, resume="latest" if before else None)
                events = tuple(event for _, event in lab.resolver.events())
                records = [lab.records.get(c.experiment_id) for c in view.candidates]
                commits = git(lab.workspace.champions, "log", "--format=%H").splitlines()
            asked = len(endpoint.requests)
        assert view.outcome == "finished", copy.after
        assert [essence(event) for event in events[: copy.events]] == [
            essence(event) for event in before
        ], copy.after
        found = lasting(events)
        different = {key for key in found.keys() | wanted if found.get(key) != wanted.get(key)}
        assert different == set(), copy.after
        assert len({event.key for event in events}) == len(events), copy.after
        assert asked == count(to_come, ModelCalled) - count(before, ModelCalled), copy.after
        points = {
            (e.candidate_id, e.point.clip, e.stage, e.point.qp)
            for e in before
            if isinstance(e, PointMeasured)
        }
        again = [
            (name, job)
            for name, job in engine.asked
            if (name, job.clip, job.stage, job.qp) in points
        ]
        assert again == [], copy.after
        assert all(records), copy.after
        adopted = [event.commit for event in events if isinstance(event, Adopted)]
        assert adopted == commits[::-1], copy.after
