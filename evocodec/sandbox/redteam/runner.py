"""Red-team runner: runs attacks through a launcher, several at a time, and judges each outcome."""

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from evocodec.codec.program import Program
from evocodec.domain.errors import CandidateFailure, InfrastructureFailure
from evocodec.domain.video import Frame
from evocodec.domain.vocabulary import AttackOutcome
from evocodec.sandbox.conformance import check_determinism
from evocodec.sandbox.launcher import IsolationReport, Launcher
from evocodec.sandbox.policy import Policy
from evocodec.sandbox.redteam.attack import (
    STREAM,
    Attack,
    AttackFinding,
    AttackObservation,
    JobResult,
    Operation,
)
from evocodec.sandbox.redteam.capacity import Channel, measure
from evocodec.sandbox.redteam.decoys import CANARY_VARIABLE, Decoys
from evocodec.sandbox.redteam.report import AttackResult, RedTeamReport
from evocodec.sandbox.review.static_review import review_program

_QP = 30.0
_PARALLEL = 4  # many attacks only wait for their end
# CPython 3.11 counts the depth of all threads' syntax trees together, and raises SystemError when
# two are built at a time.
_review_lock = threading.Lock()

OpenLauncher = Callable[[], Launcher]
Launchers = tuple[Launcher, OpenLauncher]


def run_attacks(
    open_launcher: OpenLauncher,
    attacks: Sequence[Attack],
    policy: Policy,
    *,
    channels: Sequence[Channel] = (),
    on_result: Callable[[AttackResult], None] = lambda _result: None,
) -> RedTeamReport:
    """Run every attack, then measure every channel, through a launcher opened and closed here.

    The launcher is opened after a canary (a secret) is set in this process's environment: every
    process that inherits the environment then inherits the canary. ``on_result`` is called from
    several threads.

    Raises:
        InfrastructureFailure: the launcher itself does not start.
    """
    began = time.monotonic()
    with _canary() as secret:
        launcher, verifying = open_launcher(), _VerifyingLauncher(open_launcher)
        try:
            layers = launcher.describe()

            def run_and_report(attack: Attack) -> AttackResult:
                result = run_attack((launcher, verifying.get), attack, policy, layers, secret)
                on_result(result)
                return result

            with ThreadPoolExecutor(_PARALLEL) as threads:
                results = list(
                    threads.map(run_and_report, (a for a in attacks if not a.afterwards))
                )
            results += [run_and_report(attack) for attack in attacks if attack.afterwards]
            # One at a time: they time things.
            measured = tuple(measure(channel, launcher, verifying.get()) for channel in channels)
        finally:
            launcher.close()
            verifying.close()
    return RedTeamReport(tuple(results), layers, time.monotonic() - began, measured)


class _VerifyingLauncher:
    """A second launcher, to decode again; opened when the first attack asks for it."""

    def __init__(self, open_launcher: OpenLauncher) -> None:
        self._open = open_launcher
        self._lock = threading.Lock()  # two attacks may ask at a time
        self._launcher: Launcher | None = None

    def get(self) -> Launcher:
        with self._lock:
            if self._launcher is None:
                self._launcher = self._open()
            return self._launcher

    def close(self) -> None:
        if self._launcher is not None:
            self._launcher.close()


def run_attack(
    launchers: Launchers, attack: Attack, policy: Policy, layers: IsolationReport, secret: str
) -> AttackResult:
    """Run one attack on the first launcher, look for its traces, and check the outcome.

    The second launcher is for the ``verify`` step.
    """
    began = time.monotonic()
    source = _clip()
    with Decoys(secret) as decoys:
        program = decoys.fill(attack.program)
        with _review_lock:
            shown = Program(decoys.fill(attack.for_the_gate or attack.program))
            gate = review_program(shown, policy)
        jobs = tuple(_run_steps(launchers, attack, program, source))
        observed = AttackObservation(
            jobs, decoys.effects(), secret, source, layers, gate, attack.limits
        )
        finding = _with_documented(attack, attack.check(observed), layers)
    return AttackResult(
        attack=attack,
        finding=finding,
        seconds=time.monotonic() - began,
        gate_rules=tuple(sorted({objection.rule for objection in gate.findings})),
    )


def _with_documented(
    attack: Attack, finding: AttackFinding, layers: IsolationReport
) -> AttackFinding:
    needed = attack.documented_without
    if finding.verdict is AttackOutcome.BROKEN and needed and not any(map(layers.holds, needed)):
        missing_layers = f"needs {' or '.join(needed)}"
        return replace(finding, verdict=AttackOutcome.DOCUMENTED, layer=missing_layers)
    return finding


@contextmanager
def _canary() -> Iterator[str]:
    """Put a secret into the environment of this process, as an API key would be."""
    secret = secrets.token_hex(16)
    os.environ[CANARY_VARIABLE] = secret
    try:
        yield secret
    finally:
        os.environ.pop(CANARY_VARIABLE, None)


def _clip() -> tuple[Frame, ...]:
    """Return new random noise: it cannot be described in fewer bytes than its own."""
    rng = np.random.default_rng()
    luma, chroma = (STREAM.height, STREAM.width), (STREAM.chroma_height, STREAM.chroma_width)
    return tuple(
        Frame(*(rng.integers(0, 256, shape, np.uint8) for shape in (luma, chroma, chroma)))
        for _ in range(STREAM.frame_count)
    )


def _run_steps(
    launchers: Launchers, attack: Attack, program: str, source: tuple[Frame, ...]
) -> Iterator[JobResult]:
    launcher, verifying = launchers
    packets: tuple[bytes, ...] = (b"x",)
    frames: tuple[Frame, ...] = ()
    for operation in attack.steps:
        began = time.monotonic()
        try:
            if operation == "verify":
                check_determinism(verifying(), program, packets, STREAM, attack.limits, frames)
                result = JobResult(operation, 0.0)
            else:
                result, packets = _run_step(launcher, operation, attack, program, source, packets)
                frames = result.frames
        except CandidateFailure as failure:
            result = JobResult(operation, 0.0, failure=failure)
        except InfrastructureFailure as failure:
            result = JobResult(operation, 0.0, infrastructure=str(failure))
        yield replace(result, seconds=time.monotonic() - began)


def _run_step(
    launcher: Launcher,
    operation: Operation,
    attack: Attack,
    program: str,
    source: tuple[Frame, ...],
    packets: tuple[bytes, ...],
) -> tuple[JobResult, tuple[bytes, ...]]:
    if operation == "encode":
        packets = launcher.encode(program, source, STREAM, _QP, attack.limits).packets
        return JobResult(operation, 0.0, b"".join(packets), packets), packets
    frames = launcher.decode(program, packets, STREAM, attack.limits).frames
    output = frames[0].y.tobytes().rstrip(b"\0") if frames else b""
    return JobResult(operation, 0.0, output, frames=frames), packets
