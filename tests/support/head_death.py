"""A run on a cluster whose head dies while a model is being asked, in two ways of living with it.

``driver``: the product's way. The connection is held by a process of its own, and made again.
``exit``: the simple way. The controller connects itself, Ray ends it with its head, and whoever
keeps it starts ``run --resume``.
"""

import itertools
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evocodec.app import Laboratory
from evocodec.config import load_settings
from evocodec.domain.events import (
    CandidateClosed,
    Event,
    InfrastructureRetried,
    ModelCalled,
    PointMeasured,
    RunStarted,
)
from tests.support import scripted_model as scripted
from tests.support.chaos_processes import PROGRAM, Controller
from tests.support.chaos_run import cluster
from tests.support.ray_nodes import wait_for
from tests.support.toy_laboratory import TOY, WIDE

PROGRAMS = {
    "driver": PROGRAM,
    "exit": f"""
from evocodec.app import runner
from evocodec.execution.engine import Engine
from evocodec.execution.workers.ray_cluster import RayCluster
runner.ray_engine = lambda options, **more: Engine(options, RayCluster(options), **more)
{PROGRAM}""",
}
CANDIDATES = 12
_BEFORE = 4  # candidates that close before the head dies
_QUICK_SECONDS, _SLOW_SECONDS = 1.0, 20.0  # of a model's answer; the slow one outlives the exit
_SETTLED_SECONDS = 3.0  # what was finished when the head died has been reported by then


@dataclass(frozen=True)
class HeadDeath:
    """Cost of the head's death to a run."""

    way: str
    seconds: float
    """From the death to the first point that was measured afterwards."""
    starts: int
    calls_lost: int
    """Answers of the model that were paid for, and came to nobody."""
    retries: int
    closed: int
    outcome: str


class _Model:
    """A planner and a coder that write another program each time, slowly once asked to."""

    def __init__(self) -> None:
        self.seconds = _QUICK_SECONDS
        self.slow = threading.Event()
        self._numbers = itertools.count(1)
        self._toy = TOY.read_text()

    def __call__(self, handler: Any, asked: scripted.Asked) -> None:
        seconds = self.seconds
        if seconds == _SLOW_SECONDS:
            self.slow.set()
        number = next(self._numbers)
        handler.rest(seconds)
        if "You plan the next experiment" in asked.prompt:
            text = '{"hypothesis": "Another reach.", "steps": ["Reach."]}'
        else:
            text = f"```python\n{self._toy.replace('REACH = 300', f'REACH = {300 + number}')}\n```"
        scripted.says(text)(handler, asked)


def measure_head_death(way: str, folder: Path) -> HeadDeath:
    """Carry out a run of ``CANDIDATES`` in that way; the head dies once."""
    model = _Model()
    with scripted.scripted_endpoint([model]) as endpoint, cluster() as nodes:
        settings = {
            **WIDE,
            **{"workspace": str(folder), "run.candidates": CANDIDATES, "run.minutes": 30.0},
            **{"run.slots": 3, "run.ahead": 2, "run.max_repairs": 0, "run.max_revisions": 0},
            **{"ray.address": nodes.address, "ray.head_seconds": 10.0},
            **{"ray.gpus_per_task": 0.5, "ray.sandboxes_per_task": 1.0},
            **{"model.base_url": endpoint.base_url, "model.model": "scripted"},
            **{"model.model_review": False, "model.preflight": False},
        }
        points: list[float] = []
        closed: list[str] = []

        def watch(event: Event) -> None:
            if isinstance(event, CandidateClosed):
                closed.append(event.candidate_id)
            elif isinstance(event, PointMeasured):
                points.append(time.monotonic())

        log = folder.with_suffix(".log")
        with Controller(settings, log, watch, program=PROGRAMS[way]) as controller:
            wait_for(lambda: len(closed) >= _BEFORE, 120)
            model.seconds = _SLOW_SECONDS
            wait_for(model.slow.is_set, 60)
            model.seconds = _QUICK_SECONDS
            nodes.nodes["head"].kill()
            died = time.monotonic()
            wait_for(lambda: [p for p in points if p > died + _SETTLED_SECONDS], 120)
            summary = controller.finish(300)
        with Laboratory.open(load_settings(flags=settings)) as lab:
            events = [event for _, event in lab.resolver.events()]
    return HeadDeath(
        way=way,
        seconds=round(min(p for p in points if p > died + _SETTLED_SECONDS) - died, 1),
        starts=sum(isinstance(event, RunStarted) for event in events),
        calls_lost=len(endpoint.requests)
        - sum(isinstance(event, ModelCalled) and event.received for event in events),
        retries=sum(isinstance(event, InfrastructureRetried) for event in events),
        closed=sum(isinstance(event, CandidateClosed) for event in events),
        outcome=str(summary.get("outcome", "")),
    )
