"""Failure classification: from how a job's process ended to whose fault it was, and its kind."""

import os
import re
import signal
from dataclasses import dataclass

from evocodec.domain.errors import CandidateFailure, FailureKind, InfrastructureFailure
from evocodec.guest.job import ERROR_KINDS
from evocodec.sandbox.policy import Limits

# The kernel decides on a count of clock ticks, and reports a finer one: they differ a little.
_CPU_TOLERANCE, _CPU_TICKS_SECONDS = 0.95, 0.2
_MEMORY_SUSPICION = 0.5
_MESSAGE_CHARACTERS = 2_000
_OWN_LINE = re.compile(r'  File "(\S*/evocodec/guest/|<string>").*|Extension modules: ')


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a job's process ended without having said that it was done.

    ``alone``: it was its process-id namespace's first process, which cannot kill itself.
    """

    operation: str
    wait_status: int
    cpu_seconds: float
    peak_memory_bytes: int
    alone: bool


def failure_from_error(operation: str, payload: bytes | bytearray) -> CandidateFailure:
    """What the guest reported about the program; untrusted text, but always the candidate's."""
    parts = payload.decode("utf-8", "replace").split("\0")
    kind, message, detail = (*parts, "", "", "")[:3]
    known = FailureKind(kind) if kind in ERROR_KINDS else FailureKind.EXCEPTION
    return CandidateFailure(
        known, f"{operation} failed: {message[:_MESSAGE_CHARACTERS]}", detail=detail
    )


def failure_for(
    ending: ProcessExit, limits: Limits, stderr_tail: str
) -> CandidateFailure | InfrastructureFailure:
    """Classify a process that died instead of finishing."""
    if not os.WIFSIGNALED(ending.wait_status):
        code = os.waitstatus_to_exitcode(ending.wait_status)
        text = f"{ending.operation} exited with code {code} before it was done"
        return CandidateFailure(FailureKind.CRASH, text, detail=stderr_tail)
    number = os.WTERMSIG(ending.wait_status)
    if number == signal.SIGXCPU or (number == signal.SIGKILL and _used_up_cpu(ending, limits)):
        text = f"{ending.operation} used more than {limits.cpu_seconds:g} s of CPU time"
        return CandidateFailure(FailureKind.TIMEOUT, text, detail=stderr_tail)
    if number == signal.SIGSYS:
        text = f"{ending.operation} made a system call that the sandbox forbids"
        return CandidateFailure(FailureKind.FORBIDDEN, text, detail=stderr_tail)
    if number == signal.SIGKILL:
        if ending.peak_memory_bytes > _MEMORY_SUSPICION * limits.memory_bytes:
            mebibytes = ending.peak_memory_bytes >> 20
            text = f"{ending.operation} was killed by the kernel, holding {mebibytes} MiB"
            return CandidateFailure(FailureKind.MEMORY, text, detail=stderr_tail)
        if ending.alone:
            return InfrastructureFailure(f"{ending.operation} was killed from outside the sandbox")
    text = f"{ending.operation} crashed: {describe_wait_status(ending.wait_status)}"
    return CandidateFailure(FailureKind.CRASH, text, detail=stderr_tail)


def readable_stderr(data: bytes | bytearray) -> str:
    """Standard error as untrusted text, without our own lines in tracebacks of a stuck program."""
    lines = data.decode("utf-8", "replace").splitlines(keepends=True)
    return "".join(line for line in lines if not _OWN_LINE.match(line))


def describe_wait_status(wait_status: int) -> str:
    """A wait status in words."""
    code = os.waitstatus_to_exitcode(wait_status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _used_up_cpu(ending: ProcessExit, limits: Limits) -> bool:
    return ending.cpu_seconds >= _CPU_TOLERANCE * limits.cpu_seconds - _CPU_TICKS_SECONDS
