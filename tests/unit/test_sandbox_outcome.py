"""Whose fault an ending is, and of what kind."""

import signal

import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind, InfrastructureFailure
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.outcome import ProcessExit, failure_for, failure_from_error
from evocodec.sandbox.policy import DEFAULT_FLOOR, GIBIBYTE, UNSAFE_FLOOR, Limits

LIMITS = Limits(cpu_seconds=10, memory_bytes=GIBIBYTE)


def ending(status: int, cpu: float = 1.0, peak: int = 0, alone: bool = True) -> ProcessExit:
    return ProcessExit("encode", status, cpu, peak, alone)


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        (ending(0), FailureKind.CRASH),
        (ending(3 << 8), FailureKind.CRASH),
        (ending(signal.SIGSEGV), FailureKind.CRASH),
        (ending(signal.SIGXCPU), FailureKind.TIMEOUT),
        (ending(signal.SIGKILL, cpu=10.0), FailureKind.TIMEOUT),
        (ending(signal.SIGKILL, peak=GIBIBYTE), FailureKind.MEMORY),
        (ending(signal.SIGSYS), FailureKind.FORBIDDEN),
        (ending(signal.SIGKILL, alone=False), FailureKind.CRASH),
    ],
)
def test_endings_the_candidate_is_to_blame_for(how: ProcessExit, kind: FailureKind) -> None:
    failure = failure_for(how, LIMITS, "tail")
    assert isinstance(failure, CandidateFailure)
    assert failure.kind is kind
    assert failure.detail == "tail"


def test_a_kill_that_the_program_cannot_have_made_is_ours() -> None:
    assert isinstance(failure_for(ending(signal.SIGKILL), LIMITS, ""), InfrastructureFailure)


@pytest.mark.parametrize(
    ("payload", "kind", "message"),
    [
        (b"memory\0full\0trace", FailureKind.MEMORY, "encode failed: full"),
        (b"nondeterministic\0x", FailureKind.EXCEPTION, "encode failed: x"),
        (b"", FailureKind.EXCEPTION, "encode failed: "),
        (b"\xff\xfe\0\xff", FailureKind.EXCEPTION, "encode failed: \ufffd"),
    ],
)
def test_a_reported_error_is_bounded_to_known_kinds(
    payload: bytes, kind: FailureKind, message: str
) -> None:
    failure = failure_from_error("encode", payload)
    assert (failure.kind, failure.message) == (kind, message)


def test_a_layer_that_is_off_does_not_count_for_the_floor() -> None:
    weak = IsolationReport({"no_new_privs": "on", "rlimits": "on", "seccomp": "off: none"})
    assert weak.missing_for(DEFAULT_FLOOR) == ("net_namespace or seccomp",)
    assert weak.missing_for(UNSAFE_FLOOR) == ()
    with_namespace = IsolationReport({**weak.layers, "net_namespace": "on"})
    assert with_namespace.missing_for(DEFAULT_FLOOR) == ()
