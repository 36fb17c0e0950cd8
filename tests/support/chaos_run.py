"""A whole run on three nodes of Ray, whose parts are killed one after the other."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from evocodec.app import Laboratory
from evocodec.config import load_settings
from tests.support.chaos_checks import (
    problems_of_ledger,
    problems_of_numbers,
    problems_of_sayings,
    problems_of_tables,
    problems_of_versions,
    read_ledger,
)
from tests.support.chaos_processes import Controller, Killer, say_with_time, still_running
from tests.support.persistent_aws import Cloud, persisting_cloud
from tests.support.persisting_servers import Server
from tests.support.ray_nodes import PATIENCE, Nodes, ray_nodes
from tests.support.toy_laboratory import WIDE

WORKERS = {"w1": "127.0.0.31", "w2": "127.0.0.32", "w3": "127.0.0.33"}
HEAD = "127.0.0.30"
_TASK_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run, and who dies in it, in that order; ``deaths`` may be endless."""

    candidates: int
    deaths: Iterable[str]
    every_seconds: float
    stores: bool
    away_seconds: tuple[float, float] = (0.5, 5.0)
    """How long a store stays away, at least and at most, before it starts again."""
    again: int = 25
    """How many points are measured again without Ray."""
    most_seconds: float = 3600.0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Result:
    """What came of it; ``problems`` should be empty."""

    seconds: int
    killed: dict[str, int]
    candidates: dict[str, int]
    versions: int
    events: int
    points: int
    blobs: int
    failures: dict[str, int]
    retries: dict[str, int]
    problems: list[str]


def evolve(plan: Plan, folder: Path, *, say: Callable[[str], None] = say_with_time) -> Result:
    """Carry out the run, then look at what is left. Skips where a server cannot be had."""
    with ExitStack() as stack:
        cloud = stack.enter_context(persisting_cloud(folder)) if plan.stores else None
        nodes = stack.enter_context(cluster())
        flags = _flags(plan, folder, nodes, cloud)
        parts = _parts(nodes, cloud, plan.away_seconds)
        began = time.monotonic()
        killer = Killer(parts, plan.deaths, plan.every_seconds, say)
        controller = Controller(flags, folder / "controller.log", killer.watch)
        parts["controller"] = controller.kill
        with controller, killer:
            summary = controller.finish(plan.most_seconds)
        seconds = round(time.monotonic() - began)
        settings = load_settings(flags=flags)
        with Laboratory.open(settings) as opened:
            runs = opened.ledger.runs()
            run_id = next(iter(runs), "")
            left = read_ledger(opened, run_id)
            problems = [
                *controller.ended_early,
                *killer.standstills,
                *problems_of_ledger(left, plan.candidates),
                *problems_of_sayings(left, controller.said, controller.kills),
                *problems_of_versions(opened, left),
                *(problems_of_tables(settings, left, run_id) if cloud else ()),
                *problems_of_numbers(opened, settings, left, plan.again),
                *still_running(controller.children, 10.0),
            ]
        if summary.get("outcome") != "finished" or len(runs) != 1:
            problems.append(f"{len(runs)} runs; the last: {summary or 'no end'}")
    return Result(
        seconds=seconds,
        killed=dict(Counter(killer.killed)),
        candidates=dict(left.outcomes),
        versions=len(left.adopted),
        events=len(left.events),
        points=left.points.total(),
        blobs=len(left.blobs),
        failures=dict(left.failures),
        retries=dict(left.retries),
        problems=problems,
    )


@contextmanager
def cluster() -> Iterator[Nodes]:
    """Three workers and a head, on loopback."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENCE.items():
            patch.setenv(name, value)
        with ray_nodes(HEAD, driver=False) as nodes:
            for name, ip in WORKERS.items():
                nodes.add_worker(name, ip)
            yield nodes


def _flags(plan: Plan, folder: Path, nodes: Nodes, cloud: Cloud | None) -> dict[str, Any]:
    changes = {
        "run__candidates": plan.candidates,
        "run__minutes": 60.0,
        "run__slots": 4,
        "ray__address": nodes.address,
        "ray__gpus_per_task": 0.5,
        "ray__sandboxes_per_task": 1.0,
        "ray__head_seconds": 10.0,
        **(cloud.settings() if cloud else {}),
    }
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return {**WIDE, "workspace": str(folder / "workspace"), **named, **plan.extra}


def _parts(
    nodes: Nodes, cloud: Cloud | None, away_seconds: tuple[float, float]
) -> dict[str, Callable[[], str]]:
    chance = random.Random(5)

    def worker() -> str:
        until = time.monotonic() + _TASK_SECONDS
        while time.monotonic() < until:
            for name in chance.sample(list(WORKERS), len(WORKERS)):
                for process in nodes.nodes[name].workers():
                    process.kill()
                    return f"a worker process on {name}"
            time.sleep(0.05)
        return ""  # all tasks are over

    def node() -> str:
        name = chance.choice(list(WORKERS))
        nodes.nodes[name].kill()
        return f"the node {name}"

    def head() -> str:
        nodes.nodes["head"].kill()
        return "the head"

    def away(what: str, *servers: Server) -> str:
        for server in servers:
            server.kill()
        time.sleep(chance.uniform(*away_seconds))
        for server in servers:
            server.start()
        return what

    parts: dict[str, Callable[[], str]] = {"worker": worker, "node": node, "head": head}
    if cloud is not None:
        parts["dynamodb"] = lambda: away("DynamoDB", cloud.dynamodb)
        parts["s3"] = lambda: away("S3", cloud.s3)
        parts["both stores"] = lambda: away("DynamoDB and S3", cloud.dynamodb, cloud.s3)
    return parts
