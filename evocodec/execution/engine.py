"""The engine: rate jobs in, rate points out, on any kind of workers."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeAlias

from evocodec.domain.errors import (
    InfrastructureFailure,
)
from evocodec.domain.results import Stage
from evocodec.execution.contract import EngineInfo, EngineOptions, OnPoint, OnRetry
from evocodec.execution.dispatch import Dispatch, Submitter
from evocodec.execution.jobs import RateJob
from evocodec.execution.messages import TaskSpec
from evocodec.execution.task_queue import TaskQueue
from evocodec.execution.worker_contract import ObjectRef, Workers
from evocodec.video.clips import Clip

OnGivenUp: TypeAlias = Callable[[str, InfrastructureFailure], None]  # candidate id, and why

_CLOSE_SECONDS = 10.0
_SLOTS_A_TASK_AHEAD = 8  # one task ahead for so many slots: that many rarely end at one moment


def tasks_ahead(options: EngineOptions, slots: int) -> int:
    """Return how many tasks workers are given beyond those that their slots can take now.

    Tasks that find no room are what an autoscaler looks at, and it sees only those that Ray has.
    So a cluster to join is given as many as the largest one could run; where that is not known, as
    many again as it runs now, and it grows by doubling. The price is that these keep the order in
    which they were given: what comes nearer to an adoption meanwhile waits behind them.
    """
    few = max(1, slots // _SLOTS_A_TASK_AHEAD)
    if not options.address:
        return few
    return max(few, options.most_slots - slots) if options.most_slots else max(few, slots)


class WorkerPool(Workers, Protocol):
    """Workers with a beginning and an end: threads, a Ray of our own, or a cluster to join."""

    def open(self) -> EngineInfo:
        """Start or join; see ``Engine.start``. What could not be opened is closed again."""
        ...

    def put_clip(self, clip: Clip) -> ObjectRef:
        """Make a clip's frames known to the workers."""
        ...

    def slots(self) -> int:
        """Number of tasks that fit at once now."""
        ...

    def close(self, *, keep_logs: bool) -> None:
        """End or leave; may be called twice."""
        ...


def local_engine(options: EngineOptions, *, on_given_up: OnGivenUp | None = None) -> "Engine":
    """Return an engine on threads of this process: ready at once, for a command that ends soon."""
    from evocodec.execution.workers.local import LocalWorkers  # noqa: PLC0415 - only one is needed

    return Engine(options, LocalWorkers(options), on_given_up=on_given_up)


def ray_engine(options: EngineOptions, *, on_given_up: OnGivenUp | None = None) -> "Engine":
    """Return an engine on Ray: one of our own, or the cluster at ``options.address``.

    A local cluster starts and ends with this process. A remote cluster is reached through a
    separate process, because Ray ends any process that loses the head node.
    """
    # Ray takes a second to import.
    from evocodec.execution.workers.ray_cluster import RayCluster  # noqa: PLC0415
    from evocodec.execution.workers.remote_cluster import RemoteCluster  # noqa: PLC0415

    workers = RemoteCluster(options) if options.address else RayCluster(options)
    return Engine(options, workers, on_given_up=on_given_up)


class Engine:
    """Implements ``JobRunner``. The threads of a run share it; each ``run_jobs`` owns its tasks.

    ``start`` comes first and ``close`` last, from the thread that owns the engine; every other
    method may be called by any thread. ``on_given_up`` is called for each evaluation that was lost
    more often than retries allow, before ``run_jobs`` raises.
    """

    def __init__(
        self, options: EngineOptions, workers: WorkerPool, *, on_given_up: OnGivenUp | None = None
    ) -> None:
        self._options = options
        self._workers = workers
        self._on_given_up = on_given_up
        self._open = False
        self._slots = 1
        self._queue = TaskQueue(workers, workers.slots, partial(tasks_ahead, options))
        self._clips: dict[str, Clip] = {}
        self._frames: dict[str, ObjectRef] = {}
        # Ray starts a new cluster for whoever calls it after its shutdown, so close() waits until
        # no thread is inside run_jobs().
        self._closing = threading.Event()
        self._troubled = False  # something of ours went wrong: its logs are worth keeping
        self._idle = threading.Condition()
        self._running: list[Dispatch] = []

    def start(self) -> EngineInfo:
        """Start or join, and wait until one worker has described its sandbox.

        Raises InfrastructureFailure when it cannot.
        """
        info = self._workers.open()
        self._open = True
        self._slots = self._workers.slots()
        return info

    def put_clip(self, clip: Clip) -> None:
        """Make a clip known to the workers, once; see ``JobRunner.put_clip``."""
        self._require_open()
        known = self._clips.get(clip.name)
        if known is not None and known.sha256 == clip.sha256:
            return
        self._frames[clip.name] = self._workers.put_clip(clip)
        self._clips[clip.name] = clip

    def slots(self) -> int:
        """Number of tasks can run at once, at least 1; an autoscaled cluster may grow."""
        self._require_open()
        self._slots = self._workers.slots()
        return self._slots

    def busy(self) -> int:
        """Number of tasks run now, as far as they have reported, on the slots last asked for."""
        # A task that has just ended counts until its dispatch hears of it, beside the next one.
        return min(self._slots, sum(dispatch.busy() for dispatch in tuple(self._running)))

    def waiting(self) -> int:
        """Number of tasks wait for a slot."""
        return sum(dispatch.waiting() for dispatch in tuple(self._running))

    def run_jobs(
        self,
        candidate_id: str,
        program: str,
        jobs: Sequence[RateJob],
        *,
        on_point: OnPoint,
        on_retry: OnRetry,
        stop: threading.Event | None = None,
        verify: bool = False,
    ) -> None:
        """Measure one program; see ``JobRunner.run_jobs``."""
        if not jobs:
            return

        def noted_retry(task: str, retry: int, reason: str) -> None:
            self._troubled = True
            on_retry(task, retry, reason)

        dispatch = Dispatch(
            Submitter(self._queue, dict(self._frames), program, self._spec),
            retries=self._options.retries,
            phase_seconds=self._options.limits.patience_seconds + self._options.grace_seconds,
            on_point=on_point,
            on_retry=noted_retry,
            stops=(self._closing,) if stop is None else (self._closing, stop),
        )
        try:
            with self._entered(dispatch):
                dispatch.run(candidate_id, jobs, verify=verify)
        except InfrastructureFailure as failure:
            self._troubled = True
            if self._on_given_up is not None:
                self._on_given_up(candidate_id, failure)
            raise

    def close(self) -> None:
        """Leave the cluster, and stop it if ``start`` started it; may be called twice."""
        self._closing.set()
        with self._idle:
            self._idle.wait_for(lambda: not self._running, timeout=_CLOSE_SECONDS)
            self._open = False
        self._frames.clear()
        self._clips.clear()
        self._workers.close(keep_logs=self._troubled)

    @contextmanager
    def _entered(self, dispatch: Dispatch) -> Iterator[None]:
        with self._idle:
            self._require_open()
            self._running.append(dispatch)
        try:
            yield
        finally:
            with self._idle:
                self._running.remove(dispatch)
                self._idle.notify_all()

    def _require_open(self) -> None:
        if not self._open:
            message = "the engine is not running: start() comes first, and close() is final"
            raise InfrastructureFailure(message)

    def _spec(self, job: RateJob) -> TaskSpec:
        options = self._options
        stream = replace(self._clips[job.clip].stream, frame_count=job.frames)
        return TaskSpec(
            *(job.clip, stream, job.qp, options.writer_id, options.limits, options.policy),
            vmaf=options.vmaf and job.stage is Stage.FULL,
        )
