"""The engine on Ray: named tasks on as many slots as the cluster has."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from evocodec.domain.errors import (
    InfrastructureFailure,
)
from evocodec.domain.results import Stage
from evocodec.execution.contract import (
    EngineInfo,
    EngineOptions,
    OnPoint,
    OnRetry,
)
from evocodec.execution.dispatch import Dispatch, ObjectRef, Submitter, Workers
from evocodec.execution.jobs import RateJob
from evocodec.execution.messages import TaskSpec
from evocodec.execution.workers.ray_cluster import RayCluster
from evocodec.execution.workers.remote_cluster import RemoteCluster
from evocodec.video.clips import Clip

_CLOSE_SECONDS = 10.0


class Cluster(Workers, Protocol):
    """A Ray cluster that can be worked on, through this process or through another."""

    def open(self) -> EngineInfo:
        """Connect; see ``Engine.start``."""
        ...

    def put_clip(self, clip: Clip) -> ObjectRef:
        """Make a clip's frames known to the workers."""
        ...

    def slots(self) -> int:
        """Number of tasks that fit at once now."""
        ...

    def close(self, *, keep_logs: bool) -> None:
        """Disconnect; may be called twice."""
        ...


class RayEngine:
    """Implements ``Engine``. The threads of a run share it; each ``run_jobs`` owns its tasks.

    A cluster of our own lives and dies with this process. One to join is reached through a process
    of its own (``remote_cluster``), because Ray ends whatever process loses its head.
    """

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._cluster: Cluster | None = None
        self._clips: dict[str, Clip] = {}
        self._frames: dict[str, Any] = {}
        # Ray starts a new cluster for whoever calls it after its shutdown, so close() waits until
        # no thread is inside run_jobs().
        self._closing = threading.Event()
        self._troubled = False  # something of ours went wrong: its logs are worth keeping
        self._idle = threading.Condition()
        self._running: list[Dispatch] = []

    def start(self) -> EngineInfo:
        """Start or join Ray; see ``Engine.start``."""
        joins = self._options.address is not None
        opened: Cluster = (RemoteCluster if joins else RayCluster)(self._options)
        info = opened.open()
        self._cluster = opened
        return info

    def put_clip(self, clip: Clip) -> None:
        """Make a clip known to the workers, once; see ``Engine.put_clip``."""
        cluster = self._require_cluster()
        known = self._clips.get(clip.name)
        if known is not None and known.sha256 == clip.sha256:
            return
        self._frames[clip.name] = cluster.put_clip(clip)
        self._clips[clip.name] = clip

    def slots(self) -> int:
        """Number of tasks that fit at once now; an autoscaled cluster may grow."""
        return self._require_cluster().slots()

    def busy(self) -> int:
        """Number of tasks that run now; see ``Engine.busy``."""
        return sum(dispatch.busy() for dispatch in tuple(self._running))

    def waiting(self) -> int:
        """Number of tasks that wait for a slot; see ``Engine.waiting``."""
        return sum(dispatch.waiting() for dispatch in tuple(self._running))

    def run_jobs(
        self,
        candidate_id: str,
        source: str,
        jobs: Sequence[RateJob],
        *,
        on_point: OnPoint,
        on_retry: OnRetry,
        stop: threading.Event | None = None,
        verify: RateJob | None = None,
    ) -> None:
        """Measure one program; see ``Engine.run_jobs``."""
        if not jobs:
            return
        cluster = self._require_cluster()

        def noted_retry(task: str, retry: int, reason: str) -> None:
            self._troubled = True
            on_retry(task, retry, reason)

        dispatch = Dispatch(
            Submitter(cluster, self._frames, source, self._spec),
            retries=self._options.retries,
            phase_seconds=self._options.limits.wall_seconds + self._options.grace_seconds,
            on_point=on_point,
            on_retry=noted_retry,
            stops=(self._closing,) if stop is None else (self._closing, stop),
        )
        with self._entered(dispatch):
            dispatch.run(candidate_id, jobs, verify)

    def close(self) -> None:
        """Disconnect, and stop Ray if it is ours."""
        self._closing.set()
        with self._idle:
            self._idle.wait_for(lambda: not self._running, timeout=_CLOSE_SECONDS)
        cluster, self._cluster = self._cluster, None
        self._frames.clear()
        self._clips.clear()
        if cluster is not None:
            cluster.close(keep_logs=self._troubled)

    @contextmanager
    def _entered(self, dispatch: Dispatch) -> Iterator[None]:
        with self._idle:
            self._require_cluster()
            self._running.append(dispatch)
        try:
            yield
        except InfrastructureFailure:
            self._troubled = True
            raise
        finally:
            with self._idle:
                self._running.remove(dispatch)
                self._idle.notify_all()

    def _require_cluster(self) -> Cluster:
        if self._cluster is None:
            message = "the engine is not running: start() comes first, and close() is final"
            raise InfrastructureFailure(message)
        return self._cluster

    def _spec(self, job: RateJob) -> TaskSpec:
        options = self._options
        stream = replace(self._clips[job.clip].stream, frame_count=job.frames)
        return TaskSpec(
            *(job.clip, stream, job.qp, options.writer_id, options.limits, options.policy),
            vmaf=options.vmaf and job.stage is Stage.FULL,
        )
