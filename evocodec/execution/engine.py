"""The engine on Ray: named tasks on as many slots as the cluster has."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.results import Stage
from evocodec.evaluation.clips import Clip
from evocodec.evaluation.stages import RateJob
from evocodec.execution import tasks
from evocodec.execution.contract import (
    Engine,
    EngineInfo,
    EngineOptions,
    Interrupted,
    OnPoint,
    OnRetry,
)
from evocodec.execution.dispatch import Dispatch, Submitter
from evocodec.execution.frame_transfer import sendable
from evocodec.execution.messages import Lost, TaskSpec
from evocodec.execution.ray_workers import RayWorkers
from evocodec.execution.session import Session, open_session
from evocodec.sandbox.launcher import IsolationReport

__all__ = ["Engine", "EngineInfo", "EngineOptions", "Interrupted", "RayEngine"]

_logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 10.0
_FIRST_WORKER_SECONDS = 300.0  # an autoscaled cluster may have to get a node first


class RayEngine:
    """Implements ``Engine``. The threads of a run share it; each ``run_jobs`` owns its tasks."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._session: Session | None = None
        self._clips: dict[str, Clip] = {}
        self._frames: dict[str, Any] = {}
        self._workers: RayWorkers | None = None
        # Ray starts a new cluster for whoever calls it after its shutdown, so close() waits until
        # no thread is inside run_jobs().
        self._closing = threading.Event()
        self._troubled = False  # something of ours went wrong: its logs are worth keeping
        self._idle = threading.Condition()
        self._running: list[Dispatch] = []

    def start(self) -> EngineInfo:
        """Start or join Ray; see ``Engine.start``."""
        self._session = session = open_session(self._options)
        try:
            self._workers = RayWorkers(self._options)
            isolation = self._warm_up()
        except BaseException:
            self._troubled = True
            self.close()
            raise
        resources = ray.cluster_resources()
        return EngineInfo(
            address=session.address,
            dashboard_url=session.dashboard_url,
            cpus=resources.get("CPU", 0.0),
            gpus=resources.get("GPU", 0.0),
            own=session.own,
            isolation=isolation,
        )

    def put_clip(self, clip: Clip) -> None:
        """Put the frames into the object store, where every worker of a node shares them.

        Of a large clip only its place goes there, and its pieces where there are other nodes.
        """
        self._require_session()
        assert self._session is not None  # noqa: S101 - just asked
        known = self._clips.get(clip.name)
        if known is not None and known.sha256 == clip.sha256:
            return
        self._frames[clip.name] = ray.put(sendable(clip, elsewhere=not self._session.own))
        self._clips[clip.name] = clip

    def slots(self) -> int:
        """How many tasks fit at once now; an autoscaled cluster may grow."""
        total = ray.cluster_resources()
        fits = total.get("CPU", 0.0) / self._options.cpus_per_task
        if self._options.gpus_per_task:
            fits = min(fits, total.get("GPU", 0.0) / self._options.gpus_per_task)
        return max(1, int(fits))

    def busy(self) -> int:
        """How many tasks run now; see ``Engine.busy``."""
        return sum(dispatch.busy() for dispatch in tuple(self._running))

    def waiting(self) -> int:
        """How many tasks wait for a slot; see ``Engine.waiting``."""
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
        self._require_session()
        assert self._workers is not None  # noqa: S101 - there is a session

        def noted_retry(task: str, retry: int, reason: str) -> None:
            self._troubled = True
            on_retry(task, retry, reason)

        dispatch = Dispatch(
            Submitter(self._workers, self._frames, source, self._spec),
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
        session, self._session = self._session, None
        self._frames.clear()
        self._clips.clear()
        if session is not None:
            session.close(keep_logs=self._troubled)

    @contextmanager
    def _entered(self, dispatch: Dispatch) -> Iterator[None]:
        with self._idle:
            self._require_session()
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

    def _require_session(self) -> None:
        if self._session is None:
            message = "the engine is not running: start() comes first, and close() is final"
            raise InfrastructureFailure(message)

    def _spec(self, job: RateJob) -> TaskSpec:
        options = self._options
        stream = replace(self._clips[job.clip].stream, frame_count=job.frames)
        return TaskSpec(
            *(job.clip, stream, job.qp, options.writer_id, options.limits, options.policy),
            vmaf=options.vmaf and job.stage is Stage.FULL,
        )

    def _warm_up(self) -> IsolationReport:
        """Start the fork servers of all slots, and wait for the first to say how it isolates."""
        describe = ray.remote(
            max_calls=0,
            max_retries=0,
            num_cpus=self._options.cpus_per_task,
            num_gpus=self._options.gpus_per_task,
        )(tasks.describe_task)
        waiting = [
            describe.options(name="warm-up").remote(self._options.policy)
            for _ in range(self.slots())
        ]
        ready, _ = ray.wait(waiting, timeout=_FIRST_WORKER_SECONDS)
        if not ready:
            message = (
                f"no worker was ready within {_FIRST_WORKER_SECONDS:g} s: a task wants "
                f"{self._options.cpus_per_task:g} CPU and {self._options.gpus_per_task:g} GPU, the "
                f"cluster has {ray.cluster_resources()}"
            )
            raise InfrastructureFailure(message)
        answer: tuple[int, IsolationReport | Lost]
        try:
            answer = ray.get(ready[0])
        except RayError as error:
            message = f"the first worker failed: {error}"
            raise InfrastructureFailure(message) from error
        pid, report = answer
        if isinstance(report, Lost):
            raise InfrastructureFailure(report.reason)
        _logger.info("worker %d: %s", pid, dict(report.layers))
        return report
