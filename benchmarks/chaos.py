"""A whole run on three nodes, whose parts are killed one after the other: what is left of it?

Run it with ``python benchmarks/chaos.py --candidates 60``. Workers, nodes and the head of a real
Ray on loopback (GPUs pretended) die every few seconds while the mutation proposer evolves a toy.
Then the ledger is read: every candidate closed once, every point measured once, and some points
are measured again without Ray, undisturbed: the same bytes, the same quality.
``--set`` hands settings on, so that the stores may be others:
``--set store.backend=dynamodb --set store.dynamodb_endpoint_url=...``.
"""

import argparse
import itertools
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "integration")]

from lab import settings_for  # noqa: E402 - the tests' own cluster and laboratory
from ray_nodes import PATIENCE, Nodes, ray_nodes  # noqa: E402

from evocodec.app import Laboratory  # noqa: E402
from evocodec.app.clips import clip_sources  # noqa: E402
from evocodec.app.engine import engine_options  # noqa: E402
from evocodec.config import Settings  # noqa: E402
from evocodec.domain.events import (  # noqa: E402
    AttemptFailed,
    CandidateClosed,
    CodeWritten,
    Event,
    InfrastructureRetried,
    PointMeasured,
)
from evocodec.domain.results import RatePoint, Stage  # noqa: E402
from evocodec.evaluation.clips import load_clip  # noqa: E402
from evocodec.evaluation.stages import RateJob  # noqa: E402
from evocodec.execution.local import LocalEngine  # noqa: E402
from evocodec.store.ledger import Ledger  # noqa: E402

WORKERS = {"w1": "127.0.0.31", "w2": "127.0.0.32", "w3": "127.0.0.33"}
HEAD = "127.0.0.30"
AGAIN = 25
RECOVERY_SECONDS = 120.0


@dataclass
class Found:
    """What the ledger says of a run."""

    closed: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    points: Counter[tuple[object, ...]] = field(default_factory=Counter)
    measured: list[tuple[str, Stage, RatePoint]] = field(default_factory=list)
    """Of which program, hashed."""
    failures: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)

    def problems(self) -> list[str]:
        twice = [f"{name} closed {count} times" for name, count in self.closed.items() if count > 1]
        twice += [
            f"{key} measured {count} times" for key, count in self.points.items() if count > 1
        ]
        return twice


def read_ledger(ledger: Ledger, run_id: str) -> Found:
    found, programs = Found(), {}
    for _, event in ledger.events(run_id):
        match event:
            case CodeWritten():
                programs[event.candidate_id, event.attempt] = event.source_sha256
            case CandidateClosed():
                found.closed[event.candidate_id] += 1
                found.outcomes[event.status.value] += 1
            case AttemptFailed():
                found.failures[f"{event.stage}: {event.failure}"] += 1
            case InfrastructureRetried():
                found.retries[event.reason[:60]] += 1
            case PointMeasured(candidate_id=name, attempt=attempt, stage=stage, point=point):
                found.points[name, attempt, stage, point.clip, point.qp] += 1
                found.measured.append((programs[name, attempt], stage, point))
    return found


def measure_again(opened: Laboratory, settings: Settings, found: Found) -> list[str]:
    """Compare some of the points with what the same programs give without Ray."""
    chosen = random.Random(7).sample(found.measured, min(AGAIN, len(found.measured)))
    engine = LocalEngine(engine_options(settings))
    engine.start()
    different: list[str] = []
    try:
        for source in clip_sources(settings):
            engine.put_clip(load_clip(source))
        for sha256, stage, point in chosen:

            def compare(job: RateJob, now: RatePoint, then: RatePoint = point) -> None:
                if _result(now) != _result(then):
                    different.append(f"{job.clip} q{job.qp:g}: {_result(now)}, was {_result(then)}")

            engine.run_jobs(
                "again",
                opened.blobs.get(sha256).decode(),
                [RateJob(stage, point.clip, point.frames, point.qp)],
                on_point=compare,
                on_retry=lambda *retry: different.append(f"not measured again: {retry}"),
            )
    finally:
        engine.close()
    return different


def _result(point: RatePoint) -> tuple[str, int, float]:
    return point.bitstream_sha256, point.bits, point.quality.psnr_y_db


class Killer:
    """Kills a worker process, a node, the head, and begins again."""

    def __init__(self, nodes: Nodes, every_seconds: float) -> None:
        self._nodes = nodes
        self._every = every_seconds
        self._over = threading.Event()
        self._closed = threading.Event()  # a candidate was, lately
        self._thread = threading.Thread(target=self._kill, daemon=True)
        self._random = random.Random(5)
        self.killed: list[str] = []

    def __enter__(self) -> "Killer":
        return self

    def watch(self, event: Event) -> None:
        """Begin with the first result."""
        if isinstance(event, CandidateClosed):
            print(f"{time.strftime('%H:%M:%S')} {event.candidate_id}: {event.status}", flush=True)
            self._closed.set()
            if self._thread.ident is None:
                self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _kill(self) -> None:
        for kind in itertools.cycle(("worker", "node", "worker", "head")):
            if self._over.wait(self._every * (2 if kind == "head" else 1)):
                return
            name = "head" if kind == "head" else self._random.choice(list(WORKERS))
            node = self._nodes.nodes[name]
            what = kind
            if kind == "worker":
                workers = node.workers()[:1]
                for worker in workers:
                    worker.kill()
                what = "worker process" if workers else "nothing: no task there"
            else:
                node.kill()
            self.killed.append(what)
            print(f"{time.strftime('%H:%M:%S')} killed on {name}: {what}", flush=True)
            if kind == "head":  # or the next one dies before anything has recovered
                self._closed.clear()
                self._closed.wait(RECOVERY_SECONDS)


@contextmanager
def cluster() -> Iterator[Nodes]:
    os.environ.update(PATIENCE)
    with ray_nodes(HEAD, driver=False) as nodes:
        for name, ip in WORKERS.items():
            nodes.add_worker(name, ip)
        yield nodes


def evolve(workspace: Path, candidates: int, seconds_between: float, extra: dict[str, Any]) -> int:
    began = time.monotonic()
    with cluster() as nodes:
        settings = settings_for(
            workspace,
            run__candidates=candidates,
            run__minutes=60.0,
            run__slots=4,
            ray__address=nodes.address,
            ray__gpus_per_task=0.5,
            ray__sandboxes_per_task=1.0,
            ray__head_seconds=10.0,
            **extra,
        )
        with Laboratory.open(settings) as opened:
            with Killer(nodes, seconds_between) as killer:
                view = opened.run(listeners=[killer.watch])
            found = read_ledger(opened.ledger, view.run_id)
            problems = found.problems() + measure_again(opened, settings, found)
    if view.outcome != "finished" or len(found.closed) != candidates:
        problems.append(f"{view.outcome} ({view.message}) after {len(found.closed)} candidates")
    result = {
        "seconds": round(time.monotonic() - began),
        "killed": dict(Counter(killer.killed)),
        "candidates": dict(found.outcomes),
        "points": sum(found.points.values()),
        "failures": dict(found.failures),
        "retries": dict(found.retries),
        "problems": problems,
    }
    print(json.dumps(result, indent=2))
    return 1 if problems else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=60)
    parser.add_argument("--every", type=float, default=8.0, help="seconds between two deaths")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args(arguments)
    extra = dict(text.split("=", 1) for text in given.set)
    with tempfile.TemporaryDirectory(prefix="chaos") as folder:
        return evolve(Path(folder), given.candidates, given.every, extra)


if __name__ == "__main__":
    sys.exit(main())
