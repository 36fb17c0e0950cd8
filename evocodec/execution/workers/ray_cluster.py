"""Ray connection in this process: warm workers, and the capacity of the cluster."""

import logging
from typing import Any

import ray
from ray.exceptions import RayError

from evocodec.domain.errors import InfrastructureFailure
from evocodec.execution import tasks
from evocodec.execution.contract import EngineInfo, EngineOptions
from evocodec.execution.messages import InfraLoss
from evocodec.execution.worker_contract import ObjectRef
from evocodec.execution.workers.frame_transfer import sendable
from evocodec.execution.workers.ray_connection import RaySession, open_session
from evocodec.execution.workers.ray_tasks import RayWorkers, task_resources
from evocodec.sandbox.launcher import IsolationReport
from evocodec.video.clips import Clip

_logger = logging.getLogger(__name__)

_SAY_SECONDS = 60.0


class RayCluster(RayWorkers):
    """Implements ``WorkerPool``; the thread that opened it must close it."""

    def __init__(self, options: EngineOptions) -> None:
        super().__init__(options)
        self._options = options
        self._session: RaySession | None = None

    def open(self) -> EngineInfo:
        """Start or join Ray, and wait until a worker has described its sandbox."""
        session = self.connect()
        try:
            isolation = self._warm_up()
        except BaseException:
            self.close(keep_logs=True)
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

    def connect(self) -> RaySession:
        """Start or join Ray, without waiting for workers."""
        self._session = session = open_session(self._options)
        return session

    def put_clip(self, clip: Clip) -> ObjectRef:
        """Put the frames into the object store, where every worker of a node shares them.

        Of a large clip only its place goes there, and its pieces where there are other nodes.
        """
        assert self._session is not None  # noqa: S101 - the engine asks only while it is open
        return ray.put(
            sendable(
                clip,
                elsewhere=not self._session.own,
                cache_bytes=self._options.cache_bytes,
            )
        )

    def slots(self) -> int:
        """Number of tasks that fit at once now; an autoscaled cluster may grow."""
        total = ray.cluster_resources()
        wanted = task_resources(self._options)
        names = {"CPU": wanted["num_cpus"], "GPU": wanted["num_gpus"], **wanted["resources"]}
        fits = [total.get(name, 0.0) / amount for name, amount in names.items() if amount]
        return max(1, int(min(fits)))

    def close(self, *, keep_logs: bool) -> None:
        """Disconnect, and stop Ray if it is ours; may be called twice."""
        session, self._session = self._session, None
        if session is not None:
            session.close(keep_logs=keep_logs)

    def _warm_up(self) -> IsolationReport:
        """Start the fork servers of all slots, and wait for the first to say how it isolates."""
        remote = ray.remote(max_calls=0, max_retries=0, **task_resources(self._options))
        describe = remote(tasks.describe_task).options(name="warm-up")
        arguments = (self._options.policy, self._options.limits)
        waiting = [describe.remote(*arguments) for _ in range(self.slots())]
        first = self._first_ready(waiting)
        answer: tuple[int, IsolationReport | InfraLoss]
        try:
            answer = ray.get(first)
        except RayError as error:
            message = f"the first worker failed: {error}"
            raise InfrastructureFailure(message) from error
        pid, report = answer
        if isinstance(report, InfraLoss):
            raise InfrastructureFailure(report.reason)
        _logger.info("worker %d: %s", pid, dict(report.layers))
        return report

    def _first_ready(self, waiting: list[Any]) -> Any:
        """Wait as long as a cluster that scales from nothing may need for its first node."""
        waited, limit = 0.0, self._options.first_worker_seconds
        while waited < limit:
            step = min(_SAY_SECONDS, limit - waited)
            ready, _ = ray.wait(waiting, num_returns=1, timeout=step)
            if ready:
                return ready[0]
            waited += step
            _logger.warning("no worker yet after %.0f s: %s", waited, ray.cluster_resources())
        message = (
            f"no worker was ready within {limit:g} s: a task wants "
            f"{task_resources(self._options)}, the cluster has {ray.cluster_resources()}. Does its "
            "autoscaler get nodes? ray.first_worker_seconds says how long to wait"
        )
        raise InfrastructureFailure(message)
