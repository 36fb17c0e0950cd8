"""Whose fault an ending is, and of what kind."""

import signal

import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind, InfrastructureFailure
from evocodec.domain.vocabulary import Layer
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.outcome import ProcessExit, classify_exit, failure_from_error
from evocodec.sandbox.policy import DEFAULT_FLOOR, UNSAFE_FLOOR
from tests.support.default_options import default_limits

GIBIBYTE = 1 << 30
LIMITS = default_limits(cpu_seconds=10, memory_bytes=GIBIBYTE)


FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1)


def exited(
    status: int,
    cpu: float = 1.0,
    peak: int = 0,
    *,
    signals_itself: bool = False,
    is_namespace_init: bool = True,
    group_was_full: bool | None = None,
) -> ProcessExit:
    facts = (signals_itself, is_namespace_init, group_was_full)
    return ProcessExit("encode", status, cpu, peak, *facts)


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        (exited(0), FailureKind.CRASH),
        (exited(3 << 8), FailureKind.CRASH),
        (exited(signal.SIGSEGV), FailureKind.CRASH),
        (exited(signal.SIGXCPU), FailureKind.TIMEOUT),
        (exited(signal.SIGKILL, cpu=10.0), FailureKind.TIMEOUT),
        (exited(signal.SIGKILL, peak=GIBIBYTE), FailureKind.MEMORY),
        (exited(signal.SIGSYS), FailureKind.FORBIDDEN),
        (exited(signal.SIGKILL, group_was_full=True), FailureKind.MEMORY),
        (exited(signal.SIGABRT, is_namespace_init=False), FailureKind.CRASH),
        (exited(signal.SIGTERM, is_namespace_init=False, signals_itself=True), FailureKind.CRASH),
    ],
)
def test_endings_the_candidate_is_to_blame_for(how: ProcessExit, kind: FailureKind) -> None:
    failure = classify_exit(how, LIMITS, "tail")
    assert isinstance(failure, CandidateFailure)
    assert failure.kind is kind
    assert failure.detail == "tail"


@pytest.mark.parametrize(
    "how",
    [
        *(exited(number, is_namespace_init=False) for number in FROM_OUTSIDE),
        *(exited(number, signals_itself=True) for number in FROM_OUTSIDE),
        exited(signal.SIGKILL, peak=GIBIBYTE - 1),  # before it had what it may have
        exited(signal.SIGKILL, peak=2 * GIBIBYTE, group_was_full=False),
    ],
)
def test_a_signal_that_the_program_cannot_have_made_is_ours(how: ProcessExit) -> None:
    assert isinstance(classify_exit(how, LIMITS, ""), InfrastructureFailure)


def test_an_abort_of_the_first_process_of_a_namespace_is_called_one() -> None:
    tail = "Fatal Python error: Aborted\n\nCurrent thread: candidate.py, line 4"
    failure = classify_exit(exited(signal.SIGSEGV), LIMITS, tail)
    assert "SIGABRT" in str(failure)
    assert "SIGSEGV" in str(classify_exit(exited(signal.SIGSEGV), LIMITS, "Fatal Python error: S"))


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


def test_of_several_launchers_the_weakest_counts_and_is_named() -> None:
    plain = {"no_new_privs": "on", "pid_namespace": "on", "scratch": "off: none is allowed"}
    emulated = {"no_new_privs": "on", "pid_namespace": "off: EINVAL", "scratch": "on"}
    both = {"measures": IsolationReport(plain), "verifies": IsolationReport(emulated)}
    found = IsolationReport.weakest(both)
    assert found.layers == {
        "no_new_privs": "on",
        "pid_namespace": "off: EINVAL (in the launcher that verifies)",
        "scratch": "off: none is allowed",
    }
    assert found.missing_for((frozenset({Layer.PID_NAMESPACE}),)) == ("pid_namespace",)
