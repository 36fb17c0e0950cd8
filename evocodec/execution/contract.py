"""Engine contract: rate jobs in, rate points out, and three outcomes that are never mixed."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from evocodec.domain.results import RatePoint
from evocodec.execution.jobs import RateJob
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.policy import Limits, Policy
from evocodec.video.clips import Clip

OnPoint: TypeAlias = Callable[[RateJob, RatePoint], None]
OnRetry: TypeAlias = Callable[[str, int, str], None]  # task name, which retry from 1, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Placement, limits and retries of tasks. An empty ``address`` starts a local cluster.

    ``writer_id`` is the name that every measured stream is packed under, so that its length counts
    the same for all. ``grace_seconds`` beyond the sandbox's own patience is when a task counts as
    lost; one that verifies has twice as long. ``sandboxes_per_task`` is of Ray's custom resource
    ``sandbox``, which only workers of the sandbox image have.
    ``most_slots`` is how many tasks the largest cluster may run at once, 0 if it is not known.
    ``first_worker_seconds`` is how long a cluster may need for its first node, ``head_seconds`` how
    long its head may be silent. ``cache_bytes`` bounds what another machine
    keeps of videos. ``vmaf`` is measured on whole clips only. ``temp_dir`` holds the
    logs and sockets of a local cluster, and must be short, because the path of a Unix socket ends
    at 107 bytes; the default is private to the user. Of a cluster to join, it tells this machine's
    node from others on the same machine.
    """

    limits: Limits
    policy: Policy
    writer_id: str
    address: str
    cpus_per_task: float
    gpus_per_task: float
    sandboxes_per_task: float
    first_worker_seconds: float
    head_seconds: float
    retries: int
    grace_seconds: float
    object_store_bytes: int
    cache_bytes: int
    vmaf: bool
    most_slots: int = 0
    local_cpus: int | None = None
    dashboard: bool = True
    temp_dir: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """Location of the engine; ``isolation`` was reported by a real worker."""

    address: str
    dashboard_url: str
    cpus: float
    gpus: float
    own: bool
    isolation: IsolationReport = field(repr=False)


class JobRunner(Protocol):
    """Measures programs: what the stages need of an engine. Any thread may call."""

    def put_clip(self, clip: Clip) -> None:
        """Make a clip's frames known to the workers under its name, once."""
        ...

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
        """Measure one program on ``jobs`` and return when all are done.

        The callbacks run in the calling thread, points in the order in which they complete.
        With ``verify`` every stream is decoded again, in a fresh process under another emulated
        processor, and a point is reported, as ``verified``, only when both decodes agree.

        Raises:
            CandidateFailure: the program failed; its other tasks are cancelled.
            InfrastructureFailure: a task was lost more often than retries allow.
            Interrupted: ``stop`` was set.
        """
        ...
