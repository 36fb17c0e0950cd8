"""Fork-server launcher: one warm fork server per environment, one fresh process per job."""

import contextlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np

from evocodec.domain.errors import InfrastructureFailure
from evocodec.domain.results import ResourceUse
from evocodec.domain.video import Frame, StreamInfo
from evocodec.guest.framing import Tag, pack_header
from evocodec.guest.ring import DOORBELL, split_planes
from evocodec.sandbox.jobs import Buffer, Job, ServerLostError
from evocodec.sandbox.launcher import (
    DecodedFrames,
    EncodedPackets,
    IsolationReport,
    OnFrame,
    OnPacket,
)
from evocodec.sandbox.policy import PROBE_LIMITS, Limits, Policy
from evocodec.sandbox.server_process import START_SECONDS, ServerProcess
from evocodec.sandbox.shared_frames import SharedFrames
from evocodec.sandbox.supervisor import Supervisor

DEFAULT_PRELOAD = ("numpy", "cv2", "constriction")
_PACKETS_PER_FRAME = 64
_SPARE_PACKETS = 1024
# The whole environment of a job. Each library gets one thread: several would make float results
# depend on the machine, and threads must not be started before a fork.
BASE_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "HOME": "/nonexistent",
    "USER": "nobody",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}


class ForkServerLauncher:
    """A Launcher on this machine. Start-up is lazy; every method is thread-safe.

    ``environment`` adds variables that emulate another CPU (``OPENBLAS_CORETYPE`` and the like);
    nothing of the caller's own environment is passed on.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        preload: Sequence[str] = DEFAULT_PRELOAD,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._policy = policy
        self._preload = tuple(preload)
        self._environment = {**BASE_ENVIRONMENT, **(env or {})}
        self._lock = threading.Lock()  # two threads may find the server missing at a time
        self._server: ServerProcess | None = None
        self._report: IsolationReport | None = None
        self._closed = False

    def encode(
        self,
        program: str,
        frames: Iterable[Frame],
        stream: StreamInfo,
        qp: float,
        limits: Limits,
        *,
        on_packet: OnPacket | None = None,
    ) -> EncodedPackets:
        """Run the program's ``encode`` over ``frames`` in a fresh sandbox; see Launcher."""
        sink = None if on_packet is None else _packet_sink(on_packet)
        request = _request("encode", stream, limits, qp)

        def make_job(shared: SharedFrames | None) -> Job:
            return Job(
                operation="encode",
                outgoing=_encoder_input(program, _checked(frames, stream), shared),
                result_tag=Tag.PACKET,
                max_messages=_SPARE_PACKETS + _PACKETS_PER_FRAME * stream.frame_count,
                max_bytes=limits.output_bytes,
                limits=limits,
                shared=shared,
                sink=sink,
            )

        results, use = self._run(request, make_job, stream)
        return EncodedPackets(tuple(bytes(packet) for packet in results), use)

    def decode(
        self,
        program: str,
        packets: Iterable[bytes],
        stream: StreamInfo,
        limits: Limits,
        *,
        on_frame: OnFrame | None = None,
    ) -> DecodedFrames:
        """Run the program's ``decode`` over ``packets`` in a fresh sandbox; see Launcher."""
        sink = None if on_frame is None else _frame_sink(on_frame, stream)
        request = _request("decode", stream, limits, 0.0)

        def make_job(shared: SharedFrames | None) -> Job:
            return Job(
                operation="decode",
                outgoing=_decoder_input(program, packets),
                result_tag=Tag.FRAME,
                max_messages=stream.frame_count,
                max_bytes=0,
                limits=limits,
                exact_count=True,
                shared=shared,
                sink=sink,
            )

        results, use = self._run(request, make_job, stream)
        return DecodedFrames(tuple(_frame_from(samples, stream) for samples in results), use)

    def describe(self, limits: Limits = PROBE_LIMITS) -> IsolationReport:
        """Run one empty job and return the layers that it ran behind; the report is cached."""
        if self._report is None:
            limits = replace(limits, wall_seconds=START_SECONDS)
            request = _request("probe", None, limits, 0.0)

            def make_job(_shared: SharedFrames | None) -> Job:
                return Job("probe", _message(Tag.PROGRAM, b""), Tag.PACKET, 0, 0, limits)

            self._run(request, make_job, None)
        assert self._report is not None  # noqa: S101 - _run() sets it or raises
        return self._report

    def close(self) -> None:
        """Stop the fork server and all its jobs."""
        with self._lock:
            self._closed = True
            server, self._server = self._server, None
        if server is not None:
            server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def server_pid(self) -> int:
        """Process id of the fork server; starts the server if it is not running."""
        return self._ensure_server().process.pid

    def _ensure_server(self) -> ServerProcess:
        with self._lock:
            if self._closed:
                raise InfrastructureFailure("the sandbox launcher is closed")
            if self._server is None:
                self._server = self._make_server()
            return self._server

    def _make_server(self) -> ServerProcess:
        return ServerProcess(self._policy, self._preload, self._environment)

    def _discard(self, server: ServerProcess) -> None:
        with self._lock:
            if self._server is server:
                self._server = None
        server.stop()

    def _run(
        self,
        request: Mapping[str, object],
        make_job: Callable[[SharedFrames | None], Job],
        stream: StreamInfo | None,
    ) -> tuple[list[Buffer], ResourceUse]:
        """Run a job; run it once more on a new server if the first server dies.

        Without a stream the job is a probe, which reports its layers even if the floor requires
        more.
        """
        floor = () if stream is None else self._policy.required
        for last_try in (False, True):
            try:
                server = self._ensure_server()
                with _shared_frames(stream, request["operation"]) as shared:
                    pipes = server.submit(request, shared)
                    job, group = make_job(shared), server.make_group()
                    results, use, self._report = Supervisor(job, pipes, floor, *group).run()
            except ServerLostError as error:
                self._discard(server)
                if last_try:
                    raise InfrastructureFailure(
                        f"the sandbox's fork server died twice: {error}"
                    ) from error
            except InfrastructureFailure:
                raise
            except OSError as error:
                raise InfrastructureFailure(f"the sandbox cannot work here: {error}") from error
            else:
                return results, use
        raise AssertionError("unreachable")


def _shared_frames(
    stream: StreamInfo | None, operation: object
) -> contextlib.AbstractContextManager[SharedFrames | None]:
    """Make new memory for each try: processes of a lost job could still write to the old one."""
    if stream is None:
        return contextlib.nullcontext()
    return SharedFrames(stream, job_writes=operation == "decode")


def _request(
    operation: str, stream: StreamInfo | None, limits: Limits, qp: float
) -> dict[str, object]:
    """Return the request for the fork server; the program itself never passes through it."""
    request: dict[str, object] = {
        "operation": operation,
        "qp": qp,
        "wall_seconds": limits.wall_seconds,
        "cpu_seconds": max(1, math.ceil(limits.cpu_seconds)),
        "memory_bytes": limits.memory_bytes,
        "processes": limits.processes,
        "scratch_bytes": limits.scratch_bytes,
        "scratch_inodes": limits.scratch_inodes,
    }
    if stream is not None:
        request |= {
            "width": stream.width,
            "height": stream.height,
            "fps": str(stream.fps),
            "frame_count": stream.frame_count,
        }
    return request


def _message(tag: Tag, payload: bytes) -> Iterator[memoryview]:
    yield memoryview(pack_header(tag, len(payload)) + payload)


def _encoder_input(
    program: str, frames: Iterable[Frame], shared: SharedFrames | None
) -> Iterator[memoryview]:
    yield from _message(Tag.PROGRAM, program.encode())
    for index, frame in enumerate(frames):
        if shared is not None:
            shared.put(index, frame)
        yield from _message(Tag.FRAME, DOORBELL)
    yield from _message(Tag.END, b"")


def _decoder_input(program: str, packets: Iterable[bytes]) -> Iterator[memoryview]:
    yield from _message(Tag.PROGRAM, program.encode())
    for packet in packets:
        yield from _message(Tag.PACKET, packet)
    yield from _message(Tag.END, b"")


def _packet_sink(on_packet: OnPacket) -> Callable[[int, Buffer], None]:
    return lambda index, packet: on_packet(index, bytes(packet))


def _frame_sink(on_frame: OnFrame, stream: StreamInfo) -> Callable[[int, Buffer], None]:
    return lambda index, samples: on_frame(index, _frame_from(samples, stream))


def _checked(frames: Iterable[Frame], stream: StreamInfo) -> Iterator[Frame]:
    """Check frames one by one and pass them on, so that a long video need not be in memory."""
    luma = (stream.height, stream.width)
    chroma = (stream.chroma_height, stream.chroma_width)
    count = 0
    for frame in frames:
        shapes = tuple(plane.shape for plane in frame)
        if shapes != (luma, chroma, chroma) or any(plane.dtype != np.uint8 for plane in frame):
            raise ValueError(f"frame {count} is not uint8 {luma} + 2 × {chroma}: {shapes}")
        yield frame
        count += 1
    if count != stream.frame_count:
        raise ValueError(f"{count} frames, but the stream says {stream.frame_count}")


def _frame_from(samples: Buffer, stream: StreamInfo) -> Frame:
    array = np.frombuffer(samples, dtype=np.uint8)
    array.flags.writeable = False
    return split_planes(array, stream)
