"""Failure classification: from how a job's process ended to whose fault it was, and its kind."""

import os
import re
import signal
from dataclasses import dataclass

from evocodec.domain.errors import CandidateFailure, FailureKind, InfrastructureFailure
from evocodec.guest.job import ERROR_KINDS
from evocodec.sandbox.policy import Limits

# The kernel enforces the limit by clock ticks but reports finer times: they differ a little.
_CPU_TOLERANCE, _CPU_TICKS_SECONDS = 0.95, 0.2
# What the processor makes of a program's own mistakes, abort(), and the limits of a job. No other
# signal can come from a program: seccomp keeps it from sending them to itself.
SELF_MADE = frozenset(
    {
        *(signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
        *(signal.SIGTRAP, signal.SIGSYS, signal.SIGXCPU, signal.SIGXFSZ),
    }
)
_ABORTED = "Fatal Python error: Aborted"
_MESSAGE_CHARACTERS = 2_000
_OWN_LINE = re.compile(
    r'  File "(\S*/evocodec/(?:guest|isolation)/|<string>").*|Extension modules: '
)


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """End of a job's process that never reported that it was done, though its program ran.

    ``peak_memory_bytes`` is without what the fork server had loaded. ``signals_itself``: nothing
    kept it from sending itself any signal. ``is_namespace_init``: it was the first process of its
    process-id namespace, which no signal of its own ends. ``group_was_full``: its control group
    reached its limit of memory; None where it had none.
    """

    operation: str
    wait_status: int
    cpu_seconds: float
    peak_memory_bytes: int
    signals_itself: bool
    is_namespace_init: bool
    group_was_full: bool | None = None


def failure_from_error(operation: str, payload: bytes | bytearray) -> CandidateFailure:
    """Return the failure that the job reported: untrusted text; always the candidate's fault."""
    parts = payload.decode("utf-8", "replace").split("\0")
    kind, message, detail = (*parts, "", "", "")[:3]
    failure_kind = FailureKind(kind) if kind in ERROR_KINDS else FailureKind.EXCEPTION
    return CandidateFailure(
        failure_kind, f"{operation} failed: {message[:_MESSAGE_CHARACTERS]}", detail=detail
    )


def classify_exit(
    ended: ProcessExit, limits: Limits, stderr_tail: str
) -> CandidateFailure | InfrastructureFailure:
    """Classify a process that died before it was done."""
    if not os.WIFSIGNALED(ended.wait_status):
        code = os.waitstatus_to_exitcode(ended.wait_status)
        text = f"{ended.operation} exited with code {code} before it was done"
        return CandidateFailure(FailureKind.CRASH, text, detail=stderr_tail)
    number = os.WTERMSIG(ended.wait_status)
    if number == signal.SIGXCPU or (number == signal.SIGKILL and _used_up_cpu(ended, limits)):
        text = f"{ended.operation} used more than {limits.cpu_seconds:g} s of CPU time"
        return CandidateFailure(FailureKind.TIMEOUT, text, detail=stderr_tail)
    if number == signal.SIGSYS:
        text = f"{ended.operation} made a system call that the sandbox forbids"
        return CandidateFailure(FailureKind.FORBIDDEN, text, detail=stderr_tail)
    if number == signal.SIGKILL and _used_up_memory(ended, limits):
        mebibytes = ended.peak_memory_bytes >> 20
        text = f"{ended.operation} was killed by the kernel, holding {mebibytes} MiB"
        return CandidateFailure(FailureKind.MEMORY, text, detail=stderr_tail)
    how = describe_wait_status(ended.wait_status)
    from_outside = number not in SELF_MADE and (ended.is_namespace_init or not ended.signals_itself)
    if from_outside:
        return InfrastructureFailure(
            f"{ended.operation} was {how} from outside the sandbox, such as by a machine that is "
            "out of memory: fewer slots, or a lower sandbox.memory_mib, would help then"
        )
    if number == signal.SIGSEGV and ended.is_namespace_init and _ABORTED in stderr_tail:
        # The first process of a namespace survives the signal; abort() then crashes it.
        how = "killed by SIGABRT"
    text = f"{ended.operation} crashed: {how}"
    return CandidateFailure(FailureKind.CRASH, text, detail=stderr_tail)


def stderr_text(data: bytes | bytearray) -> str:
    """Return standard error as untrusted text, without our own lines in tracebacks."""
    lines = data.decode("utf-8", "replace").splitlines(keepends=True)
    return "".join(line for line in lines if not _OWN_LINE.match(line))


def describe_wait_status(wait_status: int) -> str:
    """Return a wait status as text."""
    code = os.waitstatus_to_exitcode(wait_status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _used_up_cpu(ended: ProcessExit, limits: Limits) -> bool:
    return ended.cpu_seconds >= _CPU_TOLERANCE * limits.cpu_seconds - _CPU_TICKS_SECONDS


def _used_up_memory(ended: ProcessExit, limits: Limits) -> bool:
    """Whether its own limit killed it, and not a machine that is out of memory."""
    if ended.group_was_full is not None:
        return ended.group_was_full
    return ended.peak_memory_bytes >= limits.memory_bytes
