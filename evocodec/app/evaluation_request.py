"""Evaluation request for measurements outside of a run, and the start of their engine.

Kept apart from ``evaluating``, and light: fork servers start in processes of their own while this
one imports the rest.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from evocodec.app.background import InBackground
from evocodec.app.engine import engine_options
from evocodec.config import Settings
from evocodec.execution.contract import EngineInfo
from evocodec.execution.engine import Engine, local_engine, ray_engine


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """Options of a report that are no settings.

    ``metrics`` empty means all that were measured. ``pictures`` asks for frames to look at, which
    take one more encode and decode a clip. ``repeat`` measures anchors again instead of reading
    them from the cache, so that costs are of the same hour. ``command`` is how to ask again.
    """

    metrics: tuple[str, ...] = ()
    baseline_files: tuple[str, ...] = ()
    pictures: bool = False
    repeat: bool = False
    command: tuple[str, ...] = ("evocodec", "eval")


@dataclass(frozen=True, slots=True)
class StartingEngine:
    """An engine on its way up; ``ready`` waits for it, and raises what its start raised."""

    engine: Engine
    ready: Callable[[], EngineInfo]


@contextmanager
def starting_engine(settings: Settings) -> Iterator[StartingEngine]:
    """Begin to start an engine, and end it afterwards, whether it had started or not.

    It is the cluster or the GPUs that the settings name, else threads of this process: a local Ray
    takes five seconds to start, for one program.
    """
    options = engine_options(settings, dashboard=False, evaluating=True)
    if settings.ray.address or settings.ray.gpus_per_task:
        # Started by whoever waits for it: Linux ends Ray's processes together with the thread that
        # started them.
        cluster = ray_engine(options)
        with closing(cluster):
            yield StartingEngine(cluster, cluster.start)
        return
    local = local_engine(options)
    start = InBackground(local.start)
    try:
        yield StartingEngine(local, start.result)
    finally:
        start.wait()
        local.close()
