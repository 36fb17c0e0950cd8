"""Job process: from its fork to the first line of the program.

It is forked before there is a job to do: it leaves the fork server's user and namespaces, rehearses
what every job does, so that the memory which that writes is copied already, and waits. What is
left when a job comes takes a few milliseconds. It serves that one job.
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
from evocodec.guest import job, native_calls, wire
from evocodec.guest.framing import Tag
from evocodec.guest.ring import Ring, ring_bytes
from evocodec.isolation import confine, linux

MAX_REQUEST_BYTES = 128 * 1024
JOB_FDS = 5  # input, output, standard error, status; shared memory for frames, except to probe
_LATE = 0.95  # of the wall limit: then a job says where it is stuck, for the author to read
_PARKED_FD = 100  # above every descriptor that is arranged for the job
_RULESET_FD, _PROC_FD, _RING_FD, _BROKER_FD, _STATUS_FD, _CONTROL_FD = 5, 6, 7, 8, 9, 10
_REHEARSED = {"width": 16, "height": 16, "fps": "30000/1001", "frame_count": 1}
_REHEARSED_PROGRAM = """import numpy as np
def encode(frames, stream, qp):
    for y, u, v in frames:
        yield np.asarray(y, dtype=np.uint8).tobytes()
"""


@dataclass(frozen=True, slots=True)
class ForkServerContext:
    """What is the same for all jobs of a fork server; descriptors are its own."""

    config: Mapping[str, Any]
    pid_namespace: str
    view_state: str
    landlock_state: str
    leave_root: bool
    proc_fd: int
    ruleset_fd: int
    broker_fd: int
    broker_state: str


@dataclass(frozen=True, slots=True)
class Scratch:
    """What is made before the job comes, and so has to be guessed."""

    size_bytes: int
    inodes: int

    @classmethod
    def wanted_by(cls, request: Mapping[str, Any]) -> "Scratch":
        """By a job."""
        return cls(request["scratch_bytes"], request["scratch_inodes"])


class WarmProcess:
    """The fork server's handle on a process that waits for a job."""

    def __init__(self, around: ForkServerContext, scratch: Scratch) -> None:
        """Fork it; raises OSError."""
        self.scratch = scratch
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            _live(theirs.fileno(), around, scratch)
        theirs.close()

    def hand_over(self, request: bytes, fds: Collection[int]) -> None:
        """Give it its job, and nothing afterwards; raises OSError when it is gone."""
        with self._control:
            socket.send_fds(self._control, [request], list(fds))

    def dismiss(self) -> None:
        """Have it end without a job."""
        self._control.close()


def _live(control_fd: int, around: ForkServerContext, scratch: Scratch) -> NoReturn:
    """The forked child; it ends here."""
    operation, stream, ring, request = "", None, None, {}
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        wanted = _arrange_own(control_fd, around, scratch)
        prepared, failure = None, None
        try:
            prepared = confine.prepare(wanted)
            _rehearse()
        except Exception as error:  # noqa: BLE001 - told to whoever brings a job
            failure = error
        request = _receive_job(wanted)
        if failure or not prepared:
            raise failure or RuntimeError("not prepared")
        operation = request["operation"]
        if operation != "probe":
            stream = _stream_from(request)
            ring = _map_ring(stream, writable=operation == "decode")
        allowance = confine.JobLimits(
            request["cpu_seconds"], request["memory_bytes"], request["processes"]
        )
        layers = confine.enter(wanted, prepared, allowance)
        layers |= {"mount_namespace": around.view_state, "pivot_root": around.view_state}
        wire.write_message(Tag.READY, json.dumps(layers).encode())
    except BaseException as error:  # noqa: BLE001 - the process edge
        with contextlib.suppress(OSError):  # no job yet
            wire.write_message(Tag.SETUP_FAILED, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    try:
        if stream is None or ring is None:
            wire.read_message()  # so as to be there while it is put into its control group
            wire.write_message(Tag.END)
        else:
            faulthandler.dump_traceback_later(_LATE * request["wall_seconds"], file=2)
            job.run(operation, stream, request["qp"], ring, around.config["native"])
    finally:
        os._exit(0)


def _arrange_own(
    control_fd: int, around: ForkServerContext, scratch: Scratch
) -> confine.Confinement:
    """Close what the fork server has open, but for what is needed on the way to the job."""
    _arrange(
        {
            0: os.open(os.devnull, os.O_RDONLY),
            _RULESET_FD: around.ruleset_fd,
            _PROC_FD: around.proc_fd,
            _BROKER_FD: around.broker_fd,
            _CONTROL_FD: control_fd,
        },
        keep=(1, 2),
    )
    return confine.Confinement(
        ruleset_fd=_RULESET_FD if around.ruleset_fd >= 0 else -1,
        landlock_state=around.landlock_state,
        pid_namespace=around.pid_namespace,
        leave_root=around.leave_root,
        proc_fd=_PROC_FD,
        broker_fd=_BROKER_FD if around.broker_fd >= 0 else -1,
        broker_state=around.broker_state,
        namespaces=around.config["namespaces"],
        devices=bool(around.config["devices"]),
        address_limit=not around.config["devices"],
        scratch_bytes=scratch.size_bytes,
        scratch_inodes=scratch.inodes,
        no_scratch="" if around.view_state == "on" else around.view_state,
    )


def _receive_job(wanted: confine.Confinement) -> dict[str, Any]:
    """Wait; ends the process when there will be no job."""
    with socket.socket(fileno=_CONTROL_FD) as control:
        data, fds, _flags, _address = socket.recv_fds(control, MAX_REQUEST_BYTES, JOB_FDS)
    if not data:
        os._exit(0)
    source, target, errors, status, *shared = fds
    places = {1: errors, 2: errors, wire.INPUT_FD: source, wire.OUTPUT_FD: target}
    places |= {_STATUS_FD: status} | dict.fromkeys([_RING_FD] if shared else [], *shared)
    _arrange(places, keep=(0, wanted.ruleset_fd, wanted.proc_fd, wanted.broker_fd))
    os.write(_STATUS_FD, b"U")
    os.close(_STATUS_FD)
    return dict(json.loads(data))


def _arrange(wanted: Mapping[int, int], *, keep: Collection[int]) -> None:
    """Put descriptors in their places, leave out those below 0, and close all others."""
    parked = {
        place: fcntl.fcntl(fd, fcntl.F_DUPFD, _PARKED_FD) for place, fd in wanted.items() if fd >= 0
    }
    for place, fd in parked.items():
        os.dup2(fd, place)
    for place in set(range(_CONTROL_FD + 1)) - parked.keys() - set(keep):
        with contextlib.suppress(OSError):
            os.close(place)
    os.closerange(_CONTROL_FD + 1, os.sysconf("SC_OPEN_MAX"))


def _rehearse() -> None:
    _stream_from(_REHEARSED)
    native_calls.prepare()
    native_calls.needed_by(_REHEARSED_PROGRAM, ())
    compile(_REHEARSED_PROGRAM, job.PROGRAM_NAME, "exec", dont_inherit=True)


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
