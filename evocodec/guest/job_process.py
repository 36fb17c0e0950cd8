"""Job process: from its fork to the first line of the program.

The process is forked before there is a job. It leaves the fork server's user and namespaces, runs
once through what every job does (so that the memory pages which that writes are copied already),
and waits. When a job comes, the rest takes a few milliseconds. It serves that one job.
"""

import contextlib
import faulthandler
import fcntl
import json
import os
import signal
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NoReturn

from evocodec.domain.video import StreamInfo
from evocodec.domain.vocabulary import Layer
from evocodec.guest import job, native_calls, program_imports, wire
from evocodec.guest.framing import Tag
from evocodec.guest.ring import Ring, ring_bytes
from evocodec.isolation import confine, linux, resident_libraries

MAX_REQUEST_BYTES = 128 * 1024
JOB_FDS = 5  # input, output, standard error, status; shared memory for frames, except to probe
_NOT_SET_UP, _NOT_ENTERED = 1, 2  # exit codes, for the log: the supervisor goes by messages
_TRACEBACK_AT = 0.95  # of the wall limit: then the stack is written to stderr, for the author
_LONGEST_WATCH_SECONDS = 30 * 86_400.0  # the library takes no more than some centuries
_PARKED_FD = 100  # above every descriptor that is arranged for the job
_RULESET_FD, _PROC_FD, _RING_FD, _BROKER_FD, _STATUS_FD, _CONTROL_FD = 5, 6, 7, 8, 9, 10
_WARM_UP_STREAM = {"width": 16, "height": 16, "fps": "30000/1001", "frame_count": 1}
_WARM_UP_PROGRAM = """import numpy as np
def encode(frames, stream, qp):
    for y, u, v in frames:
        yield np.asarray(y, dtype=np.uint8).tobytes()
"""


@dataclass(frozen=True, slots=True)
class ForkServerContext:
    """Facts that all jobs of a fork server share; descriptors are those of the fork server."""

    config: Mapping[str, Any]
    pid_namespace: str
    root_state: str
    landlock_state: str
    leave_root: bool
    keeps_root: str
    proc_fd: int
    ruleset_fd: int
    broker_fd: int
    broker_state: str


@dataclass(frozen=True, slots=True)
class Scratch:
    """Size of the scratch folder; it is made before the job comes, so the size is a guess."""

    size_bytes: int
    inodes: int

    @classmethod
    def of_request(cls, request: Mapping[str, Any]) -> "Scratch":
        """Return the size that a job asks for."""
        return cls(request["scratch_bytes"], request["scratch_inodes"])


class WarmProcess:
    """Handle of the fork server on a process that waits for a job."""

    def __init__(self, context: ForkServerContext, scratch: Scratch) -> None:
        """Fork the process; raises OSError."""
        self.scratch = scratch
        self._control, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            _run_child(child_end.fileno(), context, scratch)
        child_end.close()

    def hand_over(self, request: bytes, fds: Collection[int]) -> None:
        """Send its job, and nothing afterwards; raises OSError when the process is gone."""
        with self._control:
            socket.send_fds(self._control, [request], list(fds))

    def dismiss(self) -> None:
        """End the process without a job."""
        self._control.close()


def _run_child(control_fd: int, context: ForkServerContext, scratch: Scratch) -> NoReturn:
    """Run the forked child to its end."""
    operation, stream, ring, request = "", None, None, {}
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        confinement = _keep_needed_fds(control_fd, context, scratch)
        prepared, failure = None, None
        try:
            prepared = confine.prepare(confinement)
            _warm_up()
        except Exception as error:  # noqa: BLE001 - reported when a job comes
            failure = error
        request = _receive_job(confinement)
        if failure or not prepared:
            raise failure or RuntimeError("not prepared")
        operation = request["operation"]
        if operation != "probe":
            stream = _stream_from(request)
            ring = _map_ring(stream, writable=operation == "decode")
        job_limits = confine.JobLimits(
            request["cpu_seconds"], request["memory_bytes"], request["processes"]
        )
        layers = confine.enter(confinement, prepared, job_limits)
        layers |= {Layer.MOUNT_NAMESPACE: context.root_state, Layer.PIVOT_ROOT: context.root_state}
        # Starts a thread, which the machine may refuse.
        seconds = min(_TRACEBACK_AT * request["wall_seconds"], _LONGEST_WATCH_SECONDS)
        faulthandler.dump_traceback_later(seconds, file=2)
        wire.write_message(Tag.READY, json.dumps(layers).encode())
    except BaseException as error:  # noqa: BLE001 - the process edge
        with contextlib.suppress(OSError):  # no job yet
            wire.write_message(Tag.SETUP_FAILED, f"{type(error).__name__}: {error}".encode())
        os._exit(_NOT_SET_UP)
    code = _NOT_ENTERED
    try:
        program = wire.read_message()[1]
        lock = prepared.path_lock if layers[Layer.PATH_LOCK] == "on" else None
        if stream is None or ring is None:
            job.run_nothing(lock)
        else:
            native = context.config["native"]
            job.run(operation, program, stream, request["qp"], ring, native, lock)
        code = 0
    finally:
        os._exit(code)


def _keep_needed_fds(
    control_fd: int, context: ForkServerContext, scratch: Scratch
) -> confine.Confinement:
    """Close the descriptors of the fork server, except those that the job needs."""
    _place_fds(
        {
            0: os.open(os.devnull, os.O_RDONLY),
            _RULESET_FD: context.ruleset_fd,
            _PROC_FD: context.proc_fd,
            _BROKER_FD: context.broker_fd,
            _CONTROL_FD: control_fd,
        },
        keep=(1, 2),
    )
    return confine.Confinement(
        ruleset_fd=_RULESET_FD if context.ruleset_fd >= 0 else -1,
        landlock_state=context.landlock_state,
        pid_namespace=context.pid_namespace,
        leave_root=context.leave_root,
        keeps_root=context.keeps_root,
        proc_fd=_PROC_FD,
        broker_fd=_BROKER_FD if context.broker_fd >= 0 else -1,
        broker_state=context.broker_state,
        namespaces=context.config["namespaces"],
        devices=bool(context.config["devices"]),
        address_limit=not context.config["devices"],
        scratch_bytes=scratch.size_bytes,
        scratch_inodes=scratch.inodes,
        no_scratch="" if context.root_state == "on" else context.root_state,
        paths_open=context.config["paths_open"],
    )


def _receive_job(confinement: confine.Confinement) -> dict[str, Any]:
    """Wait for the job; ends the process when none will come."""
    with socket.socket(fileno=_CONTROL_FD) as control:
        data, fds, _flags, _address = socket.recv_fds(control, MAX_REQUEST_BYTES, JOB_FDS)
    if not data:
        os._exit(0)
    source, target, errors, status, *shared = fds
    targets = {1: errors, 2: errors, wire.INPUT_FD: source, wire.OUTPUT_FD: target}
    targets |= {_STATUS_FD: status} | dict.fromkeys([_RING_FD] if shared else [], *shared)
    _place_fds(
        targets, keep=(0, confinement.ruleset_fd, confinement.proc_fd, confinement.broker_fd)
    )
    os.write(_STATUS_FD, b"U")
    os.close(_STATUS_FD)
    return dict(json.loads(data))


def _place_fds(confinement: Mapping[int, int], *, keep: Collection[int]) -> None:
    """Move descriptors to their numbers, skip negative ones, and close all others."""
    parked = {
        target_fd: fcntl.fcntl(fd, fcntl.F_DUPFD, _PARKED_FD)
        for target_fd, fd in confinement.items()
        if fd >= 0
    }
    for target_fd, fd in parked.items():
        os.dup2(fd, target_fd)
    for target_fd in set(range(_CONTROL_FD + 1)) - parked.keys() - set(keep):
        with contextlib.suppress(OSError):
            os.close(target_fd)
    os.closerange(_CONTROL_FD + 1, os.sysconf("SC_OPEN_MAX"))


def _warm_up() -> None:
    _stream_from(_WARM_UP_STREAM)
    native_calls.prepare()
    native_calls.needed_by(_WARM_UP_PROGRAM, ())
    code = compile(_WARM_UP_PROGRAM, job.PROGRAM_NAME, "exec", dont_inherit=True)
    program_imports.load(code, _WARM_UP_PROGRAM)
    resident_libraries.read_all(keep_mapped=False)


def _map_ring(stream: StreamInfo, *, writable: bool) -> Ring:
    memory = linux.map_shared(_RING_FD, ring_bytes(stream), writable=writable)
    os.close(_RING_FD)
    return Ring(memory, stream)


def _stream_from(request: Mapping[str, Any]) -> StreamInfo:
    return StreamInfo(
        width=request["width"],
        height=request["height"],
        fps=Fraction(request["fps"]),
        frame_count=request["frame_count"],
    )
