"""Task functions that run inside a worker process; none of them depends on Ray.

The worker is trusted and the program is not: every encode and every decode happens in a process of
the fork server that the worker owns. The reference frames stay in the worker, which scores.
"""

import atexit
import hashlib
import io
import os
import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from evocodec.codec.container import EvcHeader, read_evc, write_evc
from evocodec.domain.errors import (
    CandidateFailure,
    ContainerError,
    FailureKind,
    InfrastructureFailure,
)
from evocodec.domain.results import Cost, RatePoint, ResourceUse
from evocodec.domain.video import Frame
from evocodec.execution.launchers import LauncherPool
from evocodec.execution.messages import (
    CandidateFailed,
    Decoded,
    Encoded,
    InfraLoss,
    Scored,
    TaskItem,
    TaskSpec,
    TaskStarted,
    Verified,
)
from evocodec.execution.worker_contract import Step
from evocodec.metrics.meter import measure
from evocodec.sandbox.conformance import check_determinism, frames_digest
from evocodec.sandbox.launcher import IsolationReport, Launcher
from evocodec.sandbox.policy import Limits, Policy
from evocodec.video.frame_store import IN_MEMORY_BYTES, FrameWriter

Packets = tuple[bytes, ...]

_here = threading.local()


def encode_task(
    frames: Sequence[Frame], program: str, spec: TaskSpec
) -> Iterator[TaskItem | bytes]:
    """Encode in a sandbox; yields TaskStarted, then Encoded and the ``.evc`` file, or one failure.

    The file is a separate item, so that its bytes are not moved before they are decoded.
    """
    yield _began()
    try:
        launcher = _launcher(program, spec.policy)
        reference = frames[: spec.stream.frame_count]
        encoded = launcher.encode(program, reference, spec.stream, spec.qp, spec.limits)
        packed = _pack(spec, encoded.packets)
    except CandidateFailure as failure:
        yield _failed(failure)
    except InfrastructureFailure as failure:
        yield _lost(failure)
    except BaseException:
        worker_pool().close()
        raise
    else:
        yield Encoded(encoded.use)
        yield packed


def decode_task(
    frames: Sequence[Frame], program: str, packed: bytes, encode_use: ResourceUse, spec: TaskSpec
) -> Iterator[TaskItem]:
    """Decode in a fresh sandbox that has only the file's packets, then score out here.

    Yields TaskStarted, Decoded and Scored, or TaskStarted and one failure.
    """
    yield _began()
    try:
        frames_out, decode_use = _decode(program, _unpack(packed), spec)
    except CandidateFailure as failure:
        yield _failed(failure)
        return
    except InfrastructureFailure as failure:
        yield _lost(failure)
        return
    except BaseException:
        worker_pool().close()
        raise
    yield Decoded(frames_digest(frames_out))
    reference = frames[: spec.stream.frame_count]
    _score_with_one_thread()
    try:
        quality, series = measure(reference, frames_out, vmaf=spec.vmaf)
    except InfrastructureFailure as failure:
        yield _lost(failure)
        return
    point = RatePoint(
        clip=spec.clip,
        qp=spec.qp,
        bits=8 * len(packed),
        frames=len(reference),
        quality=quality,
        cost=Cost.of(encode_use, decode_use, len(reference)),
        bitstream_sha256=hashlib.sha256(packed).hexdigest(),
        series=series,
    )
    yield Scored(point)


def verify_task(program: str, packed: bytes, digest: str, spec: TaskSpec) -> Iterator[TaskItem]:
    """Decode once more as on another processor; yields TaskStarted, then Verified or a failure."""
    yield _began()
    packets = _unpack(packed)
    try:
        emulated = _launcher(program, spec.policy, emulated=True)
        try:
            allowed = spec.policy.allowed_imports
            check_determinism(
                emulated,
                program,
                packets,
                spec.stream,
                spec.limits,
                digest,
                allowed_imports=allowed,
            )
        except CandidateFailure as failure:
            if failure.kind is FailureKind.NONDETERMINISTIC:
                _diagnose_nondeterminism(failure, program, packets, digest, spec)
            raise
    except CandidateFailure as failure:
        yield _failed(failure)
    except InfrastructureFailure as failure:
        yield _lost(failure)
    except BaseException:
        worker_pool().close()
        raise
    else:
        yield Verified()


TASKS: dict[Step, Callable[..., Iterator[Any]]] = {
    Step.ENCODE: encode_task,
    Step.DECODE: decode_task,
    Step.VERIFY: verify_task,
}
"""The task of each step."""


def describe_task(policy: Policy, limits: Limits) -> tuple[int, IsolationReport | InfraLoss]:
    """Start this worker's fork servers; return the process id, and which layers hold in all."""
    try:
        return os.getpid(), IsolationReport.weakest(worker_pool().describe(policy, limits))
    except InfrastructureFailure as failure:
        return os.getpid(), InfraLoss(str(failure))


def _decode(program: str, packets: Packets, spec: TaskSpec) -> tuple[Sequence[Frame], ResourceUse]:
    """Frames in memory while they are few, and else in a file without a name.

    They are scored afterwards: the decoder's time is measured, and must not wait for the scorer.
    """
    launcher, stream = _launcher(program, spec.policy), spec.stream
    if stream.frame_bytes * stream.frame_count <= IN_MEMORY_BYTES:
        decoded = launcher.decode(program, packets, stream, spec.limits)
        return decoded.frames, decoded.use
    writer = FrameWriter(stream)
    writer.discard()
    use = launcher.decode(program, packets, stream, spec.limits, on_frame=writer.put).use
    return writer.frames(), use


def _diagnose_nondeterminism(
    failure: CandidateFailure, program: str, packets: Packets, digest: str, spec: TaskSpec
) -> None:
    """Find out whether decoding differs every time, or only on other processors, and say so."""
    here, _ = _decode(program, packets, spec)
    if frames_digest(here) != digest:
        return
    emulated = _launcher(program, spec.policy, emulated=True)
    try:
        allowed = spec.policy.allowed_imports
        check_determinism(
            emulated, program, packets, spec.stream, spec.limits, here, allowed_imports=allowed
        )
    except CandidateFailure as precise:
        message = f"on another processor (emulated), {precise.message}"
        raise CandidateFailure(precise.kind, message, detail=failure.detail) from failure


def _launcher(program: str, policy: Policy, *, emulated: bool = False) -> Launcher:
    return worker_pool().get(program, policy, emulated=emulated)


def worker_pool() -> LauncherPool:
    """Return the fork servers of this thread, which is a worker: it runs one task at a time."""
    pool: LauncherPool | None = getattr(_here, "pool", None)
    if pool is None:
        pool = _here.pool = LauncherPool()
        atexit.register(pool.close)
    return pool


@cache
def _score_with_one_thread() -> None:
    """One task is one core: OpenCV would take all of them for the scorer's filters."""
    import cv2  # noqa: PLC0415 - not while a first program waits to be encoded

    cv2.setNumThreads(1)


def _began() -> TaskStarted:
    return TaskStarted(os.getpid(), platform.node())


def _failed(failure: CandidateFailure) -> CandidateFailed:
    return CandidateFailed(failure.kind, failure.message, failure.detail)


def _lost(failure: InfrastructureFailure) -> InfraLoss:
    worker_pool().close()
    return InfraLoss(str(failure))


def _pack(spec: TaskSpec, packets: Packets) -> bytes:
    """The file whose size is the bit count; CandidateFailure where the format's bounds end."""
    packed = io.BytesIO()
    try:
        write_evc(packed, EvcHeader(spec.writer_id, spec.stream), packets)
    except ContainerError as error:
        raise CandidateFailure(FailureKind.OUTPUT_LIMIT, str(error)) from error
    return packed.getvalue()


def _unpack(packed: bytes) -> Packets:
    _, packets = read_evc(packed)
    return tuple(packets)
