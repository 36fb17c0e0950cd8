"""Attack checks: decide from what was observed whether an attack was held or got through.

The attack's own claim that it failed is never enough for "held": effects outside, stolen secrets
and reproduced frames are looked for first. An attack that did not run as intended is "unclear".
"""

import io
import re
from collections.abc import Iterable

import numpy as np

from evocodec.codec.container import EvcHeader, write_evc
from evocodec.domain.errors import FailureKind
from evocodec.domain.video import Frame
from evocodec.domain.vocabulary import AttackOutcome, Layer
from evocodec.metrics.meter import measure_quality
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.redteam.attack import (
    HIDING_LAYERS,
    STREAM,
    AttackCheck,
    AttackFinding,
    AttackObservation,
    JobResult,
)

EVIDENCE, REFUSED, NOTHING = b"EVIDENCE ", b"REFUSED ", b"NOTHING"
LOOT = b"LOOT "
_REFUSAL = re.compile(r"REFUSED (\w+) (\S+) (.*)", re.DOTALL)
_SHOWN_CHARACTERS = 160
_GRACE_SECONDS = 10.0

SECCOMP, LANDLOCK, RLIMITS = Layer.SECCOMP, Layer.LANDLOCK, Layer.RLIMITS
NAMESPACES, SUPERVISOR, FRAMING = "namespaces", "supervisor", "framing"
SCORER, ABSENT, GATE, FRESH = "scorer", "absent module", "static gate", "fresh process"
ENVIRONMENT, DESCRIPTORS, MOUNTS = "own environment", "descriptors", "mount view"
CGROUP, PERMISSIONS, SCRATCH = Layer.CGROUP, "permissions", Layer.SCRATCH
CONFORMANCE, HELD_OUT = "conformance", "held-out clips"
UNMAPPED, ABSENT_FILE = "unmapped code", "withheld file"
BROKER, HIDING = "path broker", "mount view or path broker"

_BY_KIND = {
    FailureKind.TIMEOUT: SUPERVISOR,
    FailureKind.OUTPUT_LIMIT: SUPERVISOR,
    FailureKind.BAD_OUTPUT: FRAMING,
    FailureKind.NONDETERMINISTIC: SCORER,
}


def no_success(fallback: str) -> AttackCheck:
    """Held unless there is evidence, a stolen secret or an effect; ``fallback`` names the layer."""

    def check(observed: AttackObservation) -> AttackFinding:
        layer = _hiding_layer(observed.layers) if fallback == HIDING else fallback
        broken = _success(observed)
        if broken:
            return AttackFinding(AttackOutcome.BROKEN, layer, broken)
        last = observed.jobs[-1]
        if last.infrastructure:
            text = f"blamed on the infrastructure: {last.infrastructure}"
            return AttackFinding(AttackOutcome.UNCLEAR, layer, text)
        if last.failure is not None:
            return _from_failure(last, layer, observed)
        return _from_output(observed, layer)

    return check


def fails_with(*kinds: FailureKind, layer: str) -> AttackCheck:
    """Held when the last job ends in time, with a candidate's failure of one of these kinds."""

    def check(observed: AttackObservation) -> AttackFinding:
        broken, last = _success(observed), observed.jobs[-1]
        if broken:
            return AttackFinding(AttackOutcome.BROKEN, layer, broken)
        if last.infrastructure:
            text = f"blamed on the infrastructure: {last.infrastructure}"
            return AttackFinding(AttackOutcome.BROKEN, layer, text)
        if last.failure is None:
            return AttackFinding(AttackOutcome.BROKEN, layer, f"accepted: {_shown(last.output)}")
        if last.failure.kind not in kinds:
            return AttackFinding(AttackOutcome.UNCLEAR, layer, str(last.failure))
        if last.seconds > observed.limits.wall_seconds + _GRACE_SECONDS:
            text = f"ended only after {last.seconds:.1f} s"
            return AttackFinding(AttackOutcome.BROKEN, layer, text)
        return AttackFinding(
            AttackOutcome.HELD, _layer_of_kind(last, layer, observed.layers), str(last.failure)
        )

    return check


def not_reproduced(fallback: str) -> AttackCheck:
    """Held when the decoder, given too few bytes, returns no frame of the source."""

    def check(observed: AttackObservation) -> AttackFinding:
        broken = _success(observed)
        if broken:
            return AttackFinding(AttackOutcome.BROKEN, fallback, broken)
        for job in observed.jobs:
            if job.infrastructure or job.failure:
                return AttackFinding(
                    AttackOutcome.UNCLEAR, fallback, job.infrastructure or str(job.failure)
                )
        received, source = observed.jobs[-1].frames, observed.source
        paid = sum(len(packet) for job in observed.jobs for packet in job.packets)
        equal = sum(map(_same_luma, received, source))
        if equal and paid < source[0].y.size:
            text = f"{equal} of {len(source)} source frames were decoded from {paid} bytes"
            return AttackFinding(AttackOutcome.BROKEN, fallback, text)
        return _from_output(observed, fallback, observed.jobs[0])

    return check


def read_twice(fallback: str, samples: int) -> AttackCheck:
    """Held unless the decoder returns samples of the source, and again when it is verified.

    It is also held when the encoder may not leave its trace, or the decoder not look for it.
    """

    def check(observed: AttackObservation) -> AttackFinding:
        broken = _success(observed)
        if broken:
            return AttackFinding(AttackOutcome.BROKEN, fallback, broken)
        verified = observed.jobs[-1].failure
        if verified is not None and verified.kind is FailureKind.NONDETERMINISTIC:
            return AttackFinding(AttackOutcome.HELD, fallback, str(verified))
        for job in observed.jobs:
            if job.failure is not None and job.failure.kind is FailureKind.FORBIDDEN:
                return _from_failure(job, fallback, observed)
            if job.infrastructure or job.failure:
                return AttackFinding(
                    AttackOutcome.UNCLEAR, fallback, job.infrastructure or str(job.failure)
                )
        decoded = next(job for job in observed.jobs if job.operation == "decode")
        output, source = decoded.frames[0].y[0, :samples], observed.source[0].y[0, :samples]
        if np.array_equal(output, source):
            return AttackFinding(
                AttackOutcome.BROKEN,
                fallback,
                f"{output.tolist()} was decoded twice without being sent",
            )
        return AttackFinding(
            AttackOutcome.HELD, fallback, "the reading does not depend on the source"
        )

    return check


def healthy() -> AttackCheck:
    """Held when an honest candidate still gets back exactly its own frames."""

    def check(observed: AttackObservation) -> AttackFinding:
        for job in observed.jobs:
            if job.infrastructure or job.failure:
                return AttackFinding(
                    AttackOutcome.BROKEN, FRESH, job.infrastructure or str(job.failure)
                )
        frames = observed.jobs[-1].frames
        if len(frames) == len(observed.source) and all(map(_same_luma, frames, observed.source)):
            return AttackFinding(AttackOutcome.HELD, FRESH, "an honest candidate is unharmed")
        return AttackFinding(
            AttackOutcome.BROKEN, FRESH, "an honest candidate's frames were changed"
        )

    return check


def blames_the_candidate(fallback: str) -> AttackCheck:
    """Like ``no_success``, but an infrastructure failure counts as a success of the attack."""
    plain = no_success(fallback)

    def check(observed: AttackObservation) -> AttackFinding:
        last = observed.jobs[-1]
        if last.infrastructure:
            text = f"blamed on the infrastructure: {last.infrastructure}"
            return AttackFinding(AttackOutcome.BROKEN, fallback, text)
        return plain(observed)

    return check


def reports_true_quality(*, above_psnr_db: float) -> AttackCheck:
    """Held when the scorer measures the true, low quality, whatever the candidate claimed."""

    def check(observed: AttackObservation) -> AttackFinding:
        last = observed.jobs[-1]
        if last.failure or last.infrastructure:
            return AttackFinding(
                AttackOutcome.UNCLEAR, SCORER, last.infrastructure or str(last.failure)
            )
        measured = measure_quality(observed.source, last.frames).psnr_y_db
        text = f"measured {measured:.1f} dB"
        held = AttackOutcome.BROKEN if measured > above_psnr_db else AttackOutcome.HELD
        return AttackFinding(held, SCORER, text)

    return check


def counts_packet_boundaries() -> AttackCheck:
    """Held when the counted file size grows with every packet, empty packets too."""

    def check(observed: AttackObservation) -> AttackFinding:
        encode = observed.jobs[0]
        if encode.failure or encode.infrastructure:
            return AttackFinding(
                AttackOutcome.UNCLEAR, SCORER, encode.infrastructure or str(encode.failure)
            )
        packed = io.BytesIO()
        write_evc(packed, EvcHeader("candidate", STREAM), encode.packets)
        size = packed.tell()
        text = f"{len(encode.packets)} empty packets are counted as {size} bytes"
        free = size < len(encode.packets)
        return AttackFinding(AttackOutcome.BROKEN if free else AttackOutcome.HELD, SCORER, text)

    return check


def bounded_report(limit_characters: int) -> AttackCheck:
    """Held when a hostile error text arrives cut to a limit, as the candidate's exception."""

    def check(observed: AttackObservation) -> AttackFinding:
        last = observed.jobs[-1]
        if last.failure is None:
            return AttackFinding(
                AttackOutcome.BROKEN, FRAMING, last.infrastructure or "no failure at all"
            )
        size = len(last.failure.message) + len(last.failure.detail)
        text = f"{last.failure.kind}: a report of {size} characters"
        return AttackFinding(
            AttackOutcome.BROKEN if size > limit_characters else AttackOutcome.HELD, FRAMING, text
        )

    return check


def no_effect(layer: str) -> AttackCheck:
    """Held unless something happened outside the sandbox; delivered bytes alone are no success."""

    def check(observed: AttackObservation) -> AttackFinding:
        last = observed.jobs[-1]
        if observed.effects:
            return AttackFinding(AttackOutcome.BROKEN, layer, "; ".join(observed.effects))
        if last.infrastructure:
            return AttackFinding(AttackOutcome.UNCLEAR, layer, last.infrastructure)
        return AttackFinding(AttackOutcome.HELD, layer, "delivered as bytes, without effect")

    return check


# -- what success looks like -----------------------------------------------------------------------


def _success(observed: AttackObservation) -> str:
    if observed.effects:
        return "; ".join(observed.effects)
    for job in observed.jobs:
        if observed.secret in _all_output(job):
            return f"{job.operation} gave the secret away"
        if job.output.startswith(EVIDENCE):
            return f"{job.operation} shows {_shown(job.output.removeprefix(EVIDENCE))}"
    return ""


def _all_output(job: JobResult) -> str:
    failure = job.failure
    failure_text = f"{failure.message}\n{failure.detail}" if failure else ""
    return job.output.decode("utf-8", "replace") + failure_text


def _same_luma(received: Frame, source: Frame) -> bool:
    return np.array_equal(received.y, source.y)


# -- which layer it was ----------------------------------------------------------------------------


def _from_output(
    observed: AttackObservation, fallback: str, job: JobResult | None = None
) -> AttackFinding:
    output = (job or observed.jobs[-1]).output
    if output.startswith(NOTHING):
        return AttackFinding(AttackOutcome.HELD, fallback, "it found nothing")
    if output.startswith(LOOT):
        return AttackFinding(AttackOutcome.HELD, fallback, "what it found contains no secret")
    match = _REFUSAL.match(output.decode("utf-8", "replace"))
    if match is None:
        return AttackFinding(
            AttackOutcome.UNCLEAR, fallback, f"unexpected output {_shown(output)!r}"
        )
    kind, code, text = match.groups()
    if kind in {"NameError", "SyntaxError", "TypeError", "AttributeError", "UnboundLocalError"}:
        return AttackFinding(AttackOutcome.UNCLEAR, fallback, f"{kind}: {text[:_SHOWN_CHARACTERS]}")
    layer = _layer_of_error(kind, code, observed.layers) or fallback
    return AttackFinding(AttackOutcome.HELD, layer, f"{kind}: {text[:_SHOWN_CHARACTERS]}")


def _from_failure(job: JobResult, fallback: str, observed: AttackObservation) -> AttackFinding:
    failure = job.failure
    assert failure is not None  # noqa: S101 - for the type checker
    if failure.kind is FailureKind.EXCEPTION:
        return AttackFinding(AttackOutcome.UNCLEAR, fallback, str(failure))
    return AttackFinding(
        AttackOutcome.HELD, _layer_of_kind(job, fallback, observed.layers), str(failure)
    )


def _layer_of_kind(job: JobResult, fallback: str, layers: IsolationReport) -> str:
    failure = job.failure
    assert failure is not None  # noqa: S101 - for the type checker
    text = failure.message
    if failure.kind is FailureKind.FORBIDDEN:
        return SUPERVISOR if "threads" in text else _first_on(layers, [SECCOMP], fallback)
    if failure.kind is FailureKind.MEMORY:
        if "killed by the kernel" in text:
            return CGROUP
        return SUPERVISOR if "used more than" in text else RLIMITS
    if failure.kind is FailureKind.TIMEOUT and "CPU" in text:
        return RLIMITS
    return _BY_KIND.get(failure.kind, fallback)


def _layer_of_error(kind: str, code: str, layers: IsolationReport) -> str:
    by_kind = {"ModuleNotFoundError": ABSENT, "ImportError": ABSENT, "MemoryError": RLIMITS}
    if kind in by_kind:
        return by_kind[kind]
    if kind == "PermissionError" and code == "-":
        return "disabled function"
    by_layers: dict[str, tuple[list[Layer], str]] = {
        "EPERM": ([SECCOMP, Layer.CAPABILITIES], PERMISSIONS),
        "ENOSYS": ([SECCOMP], PERMISSIONS),
        "EACCES": ([LANDLOCK], PERMISSIONS),
        "ENOENT": ([Layer.PIVOT_ROOT, Layer.MOUNT_NAMESPACE, Layer.PATH_BROKER], ""),
    }
    if code in by_layers:
        return _first_on(layers, *by_layers[code])
    simple = {
        "EBADF": DESCRIPTORS,
        "ENOTSOCK": DESCRIPTORS,
        "EROFS": MOUNTS,
        "EFBIG": RLIMITS,
        "ENOMEM": RLIMITS,
        "EAGAIN": RLIMITS,
        "ENOSPC": SCRATCH,
        "ESRCH": NAMESPACES,
        "ENETUNREACH": NAMESPACES,
        "ECONNREFUSED": NAMESPACES,
        "EADDRNOTAVAIL": NAMESPACES,
    }
    return simple.get(code, "")


def _hiding_layer(layers: IsolationReport) -> str:
    return _first_on(layers, HIDING_LAYERS, HIDING)


def _first_on(layers: IsolationReport, names: Iterable[Layer], otherwise: str) -> str:
    shown = {
        Layer.PIVOT_ROOT: MOUNTS,
        Layer.MOUNT_NAMESPACE: MOUNTS,
        Layer.PATH_BROKER: BROKER,
    }
    return next((shown.get(name, name) for name in names if layers.holds(name)), otherwise)


def _shown(output: bytes) -> str:
    text = output[:_SHOWN_CHARACTERS].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "·" for c in text)
