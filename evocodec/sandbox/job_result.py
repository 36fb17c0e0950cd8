"""Result of a job that has ended: what the supervisor knows of it, and whose fault a failure is."""

from dataclasses import dataclass, field

from evocodec.domain.errors import CandidateFailure, FailureKind, InfrastructureFailure
from evocodec.domain.results import ResourceUse
from evocodec.domain.vocabulary import Layer
from evocodec.sandbox.jobs import Buffer, Job
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.machine_limits import Machine
from evocodec.sandbox.outcome import (
    ProcessExit,
    classify_exit,
    describe_wait_status,
    stderr_text,
)
from evocodec.sandbox.watch import ProgramClock

_MUCH_CPU = 0.5  # of the wall limit


@dataclass(slots=True)
class JobProgress:
    """Everything that is known of a job so far; times are of the monotonic clock."""

    results: list[Buffer] = field(default_factory=list)
    delivered: int = 0
    result_bytes: int = 0
    stderr: bytearray = field(default_factory=bytearray)
    stderr_seen: int = 0
    layers: IsolationReport | None = None
    clock: ProgramClock | None = None  # runs since ENTERED
    lost: str = ""  # why the machine, and not the program, is to blame
    ready_at: float = 0.0
    ended_at: float = 0.0
    setup_error: str = ""
    started: bool = False  # the program's first line may have run: nothing is believed any more
    reported: CandidateFailure | None = None
    stopped: CandidateFailure | None = None
    complete: bool = False
    exit_report: tuple[int, float, int] | None = None
    base_rss_bytes: int = -1
    group_use: ResourceUse = field(default_factory=ResourceUse)
    group_was_full: bool | None = None  # None: not known

    @property
    def entered(self) -> bool:
        """Whether the program runs: only what comes after can be the candidate's fault."""
        return self.clock is not None


def conclude(job: Job, progress: JobProgress) -> tuple[list[Buffer], ResourceUse, IsolationReport]:
    """Return the results, the resource use and the isolation layers of a job that has ended.

    Raises:
        CandidateFailure: the program failed, or did what it must not.
        InfrastructureFailure: the machine failed, or the cause cannot be determined.
    """
    assert progress.exit_report is not None  # noqa: S101 - the supervisor ends only then
    wait_status, cpu_seconds, peak = progress.exit_report
    cpu_seconds = max(cpu_seconds, progress.group_use.cpu_seconds)
    peak = max(peak, progress.group_use.peak_memory_bytes)
    if progress.layers is None or not progress.entered or progress.setup_error:
        reason = progress.setup_error or describe_wait_status(wait_status)
        reason += f"; {tail}" if (tail := stderr_text(progress.stderr).strip()) else ""
        raise InfrastructureFailure(f"the sandbox could not be set up: {reason}")
    if progress.complete and progress.reported is None and progress.stopped is None:
        wall = progress.ended_at - progress.ready_at
        return progress.results, ResourceUse(wall, cpu_seconds, peak), progress.layers
    failure = progress.stopped or progress.reported
    if failure is None and progress.lost:
        raise InfrastructureFailure(progress.lost)
    if failure is not None and _timed_out_unseen(job, progress, failure, cpu_seconds):
        raise InfrastructureFailure(
            f"{failure.message}, but used {cpu_seconds:.1f} s of CPU time, and /proc hides it "
            "(mount option hidepid): nobody can tell whether the machine was too busy"
        )
    tail = stderr_text(progress.stderr)
    if failure is None:
        failure = _ended_early(job, progress, wait_status, cpu_seconds, peak, tail)
    detail = "\n".join(part for part in (failure.detail, tail) if part)
    failure = CandidateFailure(failure.kind, failure.message, detail=detail)
    # What the supervisor stopped had reached a limit of its own.
    if progress.stopped is None and (lacking := Machine().lacks(failure, job.limits)):
        raise InfrastructureFailure(f"{failure.message}: {lacking}")
    raise failure


def _ended_early(
    job: Job,
    progress: JobProgress,
    wait_status: int,
    cpu_seconds: float,
    peak_memory_bytes: int,
    tail: str,
) -> CandidateFailure:
    """Return how the program ended its process; raises InfrastructureFailure if it did not."""
    assert progress.layers is not None  # noqa: S101 - the program has run
    ended = ProcessExit(
        operation=job.operation,
        wait_status=wait_status,
        cpu_seconds=cpu_seconds,
        peak_memory_bytes=peak_memory_bytes - max(0, progress.base_rss_bytes),
        signals_itself=not progress.layers.holds(Layer.SECCOMP),
        is_namespace_init=progress.layers.holds(Layer.PID_NAMESPACE),
        group_was_full=progress.group_was_full,
    )
    failure = classify_exit(ended, job.limits, tail)
    if isinstance(failure, InfrastructureFailure):
        raise failure
    # Its detail is the standard error, which is added where all failures get it.
    return CandidateFailure(failure.kind, failure.message)


def _timed_out_unseen(
    job: Job, progress: JobProgress, failure: CandidateFailure, cpu_seconds: float
) -> bool:
    clock = progress.clock
    little = cpu_seconds < _MUCH_CPU * job.limits.wall_seconds
    blind = clock is not None and clock.blind
    return failure.kind is FailureKind.TIMEOUT and blind and little
