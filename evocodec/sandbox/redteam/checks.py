"""Attack checks: decide from what was observed whether an attack was held or got through.

That it says it failed is never the reason for "held" alone: effects outside, stolen secrets and
reproduced frames are looked for first, and an attack that did not run as meant is "unclear".
"""

import io
import re
from collections.abc import Iterable

import numpy as np

from evocodec.codec.container import EvcHeader, write_evc
from evocodec.domain.errors import FailureKind
from evocodec.domain.video import Frame
from evocodec.metrics.meter import measure_quality
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.redteam.attack import (
    STREAM,
    VIEWS,
    Finding,
    JobResult,
    Judge,
    Observation,
    Verdict,
)

EVIDENCE, REFUSED, NOTHING = b"EVIDENCE ", b"REFUSED ", b"NOTHING"
LOOT = b"LOOT "
_REFUSAL = re.compile(r"REFUSED (\w+) (\S+) (.*)", re.DOTALL)
_SHOWN_CHARACTERS = 160
_GRACE_SECONDS = 10.0

SECCOMP, LANDLOCK, RLIMITS = "seccomp", "landlock", "rlimits"
NAMESPACES, SUPERVISOR, FRAMING = "namespaces", "supervisor", "framing"
SCORER, ABSENT, GATE, FRESH = "scorer", "absent module", "static gate", "fresh process"
ENVIRONMENT, DESCRIPTORS, MOUNTS = "own environment", "descriptors", "mount view"
CGROUP, PERMISSIONS, SCRATCH = "cgroup", "permissions", "scratch"
CONFORMANCE, HELD_OUT = "conformance", "held-out clips"
UNMAPPED, ABSENT_FILE = "unmapped code", "withheld file"
BROKER, VIEW = "path broker", "mount view or path broker"

_BY_KIND = {
    FailureKind.TIMEOUT: SUPERVISOR,
    FailureKind.OUTPUT_LIMIT: SUPERVISOR,
    FailureKind.BAD_OUTPUT: FRAMING,
    FailureKind.NONDETERMINISTIC: SCORER,
}


def no_success(fallback: str) -> Judge:
    """Held unless evidence, a stolen secret or an effect shows; ``fallback`` names the layer."""

    def judge(seen: Observation) -> Finding:
        layer = _view_of(seen.layers) if fallback == VIEW else fallback
        broken = _success(seen)
        if broken:
            return Finding(Verdict.BROKEN, layer, broken)
        last = seen.jobs[-1]
        if last.infrastructure:
            text = f"the infrastructure got the blame: {last.infrastructure}"
            return Finding(Verdict.UNCLEAR, layer, text)
        if last.failure is not None:
            return _from_failure(last, layer, seen)
        return _from_words(seen, layer)

    return judge


def fails_with(*kinds: FailureKind, layer: str) -> Judge:
    """Held when the last job ends as the candidate's failure of one of these kinds, in time."""

    def judge(seen: Observation) -> Finding:
        broken, last = _success(seen), seen.jobs[-1]
        if broken:
            return Finding(Verdict.BROKEN, layer, broken)
        if last.infrastructure:
            text = f"the infrastructure got the blame: {last.infrastructure}"
            return Finding(Verdict.BROKEN, layer, text)
        if last.failure is None:
            return Finding(Verdict.BROKEN, layer, f"accepted: {_shown(last.said)}")
        if last.failure.kind not in kinds:
            return Finding(Verdict.UNCLEAR, layer, str(last.failure))
        if last.seconds > seen.limits.wall_seconds + _GRACE_SECONDS:
            text = f"ended only after {last.seconds:.1f} s"
            return Finding(Verdict.BROKEN, layer, text)
        return Finding(Verdict.HELD, _layer_of_kind(last, layer, seen.layers), str(last.failure))

    return judge


def not_reproduced(fallback: str) -> Judge:
    """Held when no frame of the source comes out of a decoder that got far too few bytes."""

    def judge(seen: Observation) -> Finding:
        broken = _success(seen)
        if broken:
            return Finding(Verdict.BROKEN, fallback, broken)
        for job in seen.jobs:
            if job.infrastructure or job.failure:
                return Finding(Verdict.UNCLEAR, fallback, job.infrastructure or str(job.failure))
        received, source = seen.jobs[-1].frames, seen.source
        paid = sum(len(packet) for job in seen.jobs for packet in job.packets)
        equal = sum(map(_same_luma, received, source))
        if equal and paid < source[0].y.size:
            text = f"{equal} of {len(source)} source frames came out of {paid} bytes"
            return Finding(Verdict.BROKEN, fallback, text)
        return _from_words(seen, fallback, seen.jobs[0])

    return judge


def read_twice(fallback: str, samples: int) -> Judge:
    """Held unless the decoder says what only the source knew, and does so again when verified."""

    def judge(seen: Observation) -> Finding:
        broken = _success(seen)
        if broken:
            return Finding(Verdict.BROKEN, fallback, broken)
        verified = seen.jobs[-1].failure
        if verified is not None and verified.kind is FailureKind.NONDETERMINISTIC:
            return Finding(Verdict.HELD, fallback, str(verified))
        for job in seen.jobs:
            if job.infrastructure or job.failure:
                return Finding(Verdict.UNCLEAR, fallback, job.infrastructure or str(job.failure))
        decoded = next(job for job in seen.jobs if job.operation == "decode")
        said, source = decoded.frames[0].y[0, :samples], seen.source[0].y[0, :samples]
        if np.array_equal(said, source):
            return Finding(
                Verdict.BROKEN, fallback, f"{said.tolist()} came out, twice, for nothing"
            )
        return Finding(Verdict.HELD, fallback, "the same reading whatever was sent")

    return judge


def healthy() -> Judge:
    """Held when an honest candidate still gets exactly its own frames back."""

    def judge(seen: Observation) -> Finding:
        for job in seen.jobs:
            if job.infrastructure or job.failure:
                return Finding(Verdict.BROKEN, FRESH, job.infrastructure or str(job.failure))
        frames = seen.jobs[-1].frames
        if len(frames) == len(seen.source) and all(map(_same_luma, frames, seen.source)):
            return Finding(Verdict.HELD, FRESH, "an honest candidate is unharmed")
        return Finding(Verdict.BROKEN, FRESH, "an honest candidate's frames were changed")

    return judge


def blames_the_candidate(fallback: str) -> Judge:
    """Like ``no_success``; besides, an infrastructure failure is what the attack was after."""
    plain = no_success(fallback)

    def judge(seen: Observation) -> Finding:
        last = seen.jobs[-1]
        if last.infrastructure:
            text = f"the infrastructure got the blame: {last.infrastructure}"
            return Finding(Verdict.BROKEN, fallback, text)
        return plain(seen)

    return judge


def tells_no_lies(*, above_psnr_db: float) -> Judge:
    """Held when the quality that the scorer measures is as bad as it is, whatever was claimed."""

    def judge(seen: Observation) -> Finding:
        last = seen.jobs[-1]
        if last.failure or last.infrastructure:
            return Finding(Verdict.UNCLEAR, SCORER, last.infrastructure or str(last.failure))
        measured = measure_quality(seen.source, last.frames).psnr_y_db
        text = f"measured {measured:.1f} dB"
        held = Verdict.BROKEN if measured > above_psnr_db else Verdict.HELD
        return Finding(held, SCORER, text)

    return judge


def boundaries_cost() -> Judge:
    """Held when the file that is counted grows with every packet, empty ones too."""

    def judge(seen: Observation) -> Finding:
        encode = seen.jobs[0]
        if encode.failure or encode.infrastructure:
            return Finding(Verdict.UNCLEAR, SCORER, encode.infrastructure or str(encode.failure))
        packed = io.BytesIO()
        write_evc(packed, EvcHeader("candidate", STREAM), encode.packets)
        size = packed.tell()
        text = f"{len(encode.packets)} empty packets are counted as {size} bytes"
        free = size < len(encode.packets)
        return Finding(Verdict.BROKEN if free else Verdict.HELD, SCORER, text)

    return judge


def bounded_report(limit_characters: int) -> Judge:
    """Held when a hostile error text arrives cut to a bound, as the candidate's exception."""

    def judge(seen: Observation) -> Finding:
        last = seen.jobs[-1]
        if last.failure is None:
            return Finding(Verdict.BROKEN, FRAMING, last.infrastructure or "no failure at all")
        size = len(last.failure.message) + len(last.failure.detail)
        text = f"{last.failure.kind}: a report of {size} characters"
        return Finding(Verdict.BROKEN if size > limit_characters else Verdict.HELD, FRAMING, text)

    return judge


def no_effect(layer: str) -> Judge:
    """Held unless something happened outside: delivering the bytes is no success by itself."""

    def judge(seen: Observation) -> Finding:
        last = seen.jobs[-1]
        if seen.effects:
            return Finding(Verdict.BROKEN, layer, "; ".join(seen.effects))
        if last.infrastructure:
            return Finding(Verdict.UNCLEAR, layer, last.infrastructure)
        return Finding(Verdict.HELD, layer, "delivered, and stayed what it is: bytes")

    return judge


def refused_by_gate(judge_at_run_time: Judge) -> Judge:
    """Held when the static gate refuses the program; says whether run time would hold too."""

    def judge(seen: Observation) -> Finding:
        at_run_time = judge_at_run_time(seen)
        if at_run_time.verdict is Verdict.HELD:
            return at_run_time
        if seen.gate.findings:
            rule = seen.gate.findings[0].rule
            text = f"refused before running ({rule}); at run time: {at_run_time.detail}"
            return Finding(Verdict.HELD, GATE, text)
        return at_run_time

    return judge


# -- what success looks like -----------------------------------------------------------------------


def _success(seen: Observation) -> str:
    if seen.effects:
        return "; ".join(seen.effects)
    for job in seen.jobs:
        if seen.secret in _everything_said(job):
            return f"{job.operation} gave the secret away"
        if job.said.startswith(EVIDENCE):
            return f"{job.operation} shows {_shown(job.said.removeprefix(EVIDENCE))}"
    return ""


def _everything_said(job: JobResult) -> str:
    failure = job.failure
    told = f"{failure.message}\n{failure.detail}" if failure else ""
    return job.said.decode("utf-8", "replace") + told


def _same_luma(received: Frame, source: Frame) -> bool:
    return np.array_equal(received.y, source.y)


# -- which layer it was ----------------------------------------------------------------------------


def _from_words(seen: Observation, fallback: str, job: JobResult | None = None) -> Finding:
    said = (job or seen.jobs[-1]).said
    if said.startswith(NOTHING):
        return Finding(Verdict.HELD, fallback, "there was nothing to be had")
    if said.startswith(LOOT):
        return Finding(Verdict.HELD, fallback, "what it found has no secret in it")
    match = _REFUSAL.match(said.decode("utf-8", "replace"))
    if match is None:
        return Finding(Verdict.UNCLEAR, fallback, f"said {_shown(said)!r}")
    kind, code, text = match.groups()
    if kind in {"NameError", "SyntaxError", "TypeError", "AttributeError", "UnboundLocalError"}:
        return Finding(Verdict.UNCLEAR, fallback, f"{kind}: {text[:_SHOWN_CHARACTERS]}")
    layer = _layer_of_error(kind, code, seen.layers) or fallback
    return Finding(Verdict.HELD, layer, f"{kind}: {text[:_SHOWN_CHARACTERS]}")


def _from_failure(job: JobResult, fallback: str, seen: Observation) -> Finding:
    failure = job.failure
    assert failure is not None  # noqa: S101 - for the type checker
    if failure.kind is FailureKind.EXCEPTION:
        return Finding(Verdict.UNCLEAR, fallback, str(failure))
    return Finding(Verdict.HELD, _layer_of_kind(job, fallback, seen.layers), str(failure))


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
    by_layers = {
        "EPERM": ([SECCOMP, "capabilities"], PERMISSIONS),
        "ENOSYS": ([SECCOMP], PERMISSIONS),
        "EACCES": ([LANDLOCK], PERMISSIONS),
        "ENOENT": (["pivot_root", "mount_namespace", "path_broker"], ""),
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


def _view_of(layers: IsolationReport) -> str:
    return _first_on(layers, VIEWS, VIEW)


def _first_on(layers: IsolationReport, names: Iterable[str], otherwise: str) -> str:
    shown = {"pivot_root": MOUNTS, "mount_namespace": MOUNTS, "path_broker": BROKER}
    return next((shown.get(name, name) for name in names if layers.holds(name)), otherwise)


def _shown(said: bytes) -> str:
    text = said[:_SHOWN_CHARACTERS].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "·" for c in text)
