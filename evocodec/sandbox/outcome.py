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
_MEMORY_SUSPICION = 0.5
_MESSAGE_CHARACTERS = 2_000
_OWN_LINE = re.compile(
    r'  File "(\S*/evocodec/(?:guest|isolation)/|<string>").*|Extension modules: '
)


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """End of a job's process that never reported that it was done.

    ``is_namespace_init``: it was the first process of its process-id namespace, which cannot kill
    itself.
    """

    operation: str
    wait_status: int
    cpu_seconds: float
    peak_memory_bytes: int
    is_namespace_init: bool


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
    if number == signal.SIGKILL:
        if ended.peak_memory_bytes > _MEMORY_SUSPICION * limits.memory_bytes:
            mebibytes = ended.peak_memory_bytes >> 20
            text = f"{ended.operation} was killed by the kernel, holding {mebibytes} MiB"
            return CandidateFailure(FailureKind.MEMORY, text, detail=stderr_tail)
        if ended.is_namespace_init:
            return InfrastructureFailure(f"{ended.operation} was killed from outside the sandbox")
    text = f"{ended.operation} crashed: {describe_wait_status(ended.wait_status)}"
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
