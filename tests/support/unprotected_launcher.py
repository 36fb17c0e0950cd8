"""Launchers that protect nothing: the red team must break them, or it proves nothing.

``WeakLauncher`` runs each job in a plain process of its own, which inherits everything and is
believed. ``SharedLauncher`` runs all jobs in one process, as evolution frameworks that import
their candidates do.
"""

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence

import numpy as np

from evocodec.domain.errors import CandidateFailure, FailureKind, InfrastructureFailure
from evocodec.domain.results import ResourceUse
from evocodec.domain.video import Frame, StreamInfo
from evocodec.guest.framing import HEADER, Tag, pack_header
from evocodec.guest.job import ERROR_KINDS
from evocodec.sandbox.launcher import (
    DecodedFrames,
    EncodedPackets,
    IsolationReport,
    OnFrame,
    OnPacket,
)
from evocodec.sandbox.policy import Limits

PATIENCE_SECONDS = 14.0
USE = ResourceUse(0.0, 0.0, 0)

JOB = """
import os, sys
from fractions import Fraction
import numpy as np
from evocodec.domain.video import StreamInfo
from evocodec.guest import job
from evocodec.guest.framing import HEADER, Tag, pack_header

def read_exactly(count):
    data = b""
    while len(data) < count:
        piece = os.read(3, count - len(data))
        if not piece: raise EOFError
        data += piece
    return data

def read_message():
    number, length = HEADER.unpack(read_exactly(HEADER.size))
    return Tag(number), read_exactly(length)

def write_message(tag, payload=b""):
    data = pack_header(tag, len(payload)) + payload
    while data: data = data[os.write(4, data):]

def frames(messages, stream):
    luma, small = stream.width * stream.height, (stream.chroma_height, stream.chroma_width)
    for data in messages:
        flat = np.frombuffer(data, np.uint8)
        u, v = np.split(flat[luma:], 2)
        yield flat[:luma].reshape(stream.height, stream.width), u.reshape(small), v.reshape(small)

def run(operation, width, height, count):
    stream = StreamInfo(int(width), int(height), Fraction(30), int(count))
    source = read_message()[1].decode()
    sent = []
    while (message := read_message())[0] is not Tag.END: sent.append(message[1])
    try:
        encode, decode = job.load(source)
        if operation == "encode":
            for packet in encode(frames(sent, stream), stream, 30.0):
                write_message(Tag.PACKET, bytes(packet))
        else:
            for frame in decode(iter(sent), stream):
                write_message(Tag.FRAME, b"".join(np.asarray(plane).tobytes() for plane in frame))
    except BaseException as error:
        write_message(Tag.ERROR, job.describe_error(error))
    else:
        write_message(Tag.END)
"""
FORK_JOBS = (
    JOB
    + """
import signal, socket
control = socket.socket(fileno=int(sys.argv[1]))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    words, fds, _, _ = socket.recv_fds(control, 4096, 2)
    if not words: break
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        a, b = os.dup(fds[0]), os.dup(fds[1])
        control.detach()
        os.dup2(a, 3); os.dup2(b, 4)
        run(*words.decode().split())
        os._exit(0)
    for fd in fds: os.close(fd)
    control.send(str(pid).encode())
"""
)
MANY_JOBS = JOB + "for line in sys.stdin: run(*line.split())\n"


class WeakLauncher:
    """No confinement and no doubt: whatever comes out of the pipe is taken as it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORK_JOBS, str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()

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
        planes = [b"".join(plane.tobytes() for plane in frame) for frame in frames]
        sent = [(Tag.PROGRAM, program.encode()), *((Tag.FRAME, data) for data in planes)]
        packets = self.run("encode", sent, stream)
        if on_packet is None:
            return EncodedPackets(tuple(packets), USE)
        for index, packet in enumerate(packets):
            on_packet(index, packet)
        return EncodedPackets((), USE)

    def decode(
        self,
        program: str,
        packets: Iterable[bytes],
        stream: StreamInfo,
        limits: Limits,
        *,
        on_frame: OnFrame | None = None,
    ) -> DecodedFrames:
        sent = [(Tag.PROGRAM, program.encode()), *((Tag.PACKET, packet) for packet in packets)]
        frames = [
            data.ljust(stream.frame_bytes, b"\0") for data in self.run("decode", sent, stream)
        ]
        blank = bytes(stream.frame_bytes)
        frames = (frames + [blank] * stream.frame_count)[: stream.frame_count]
        arrays = (np.frombuffer(data[: stream.frame_bytes], np.uint8) for data in frames)
        decoded = tuple(planes_of(array, stream) for array in arrays)
        if on_frame is None:
            return DecodedFrames(decoded, USE)
        for index, frame in enumerate(decoded):
            on_frame(index, frame)
        return DecodedFrames((), USE)

    def describe(self) -> IsolationReport:
        return IsolationReport({})

    def close(self) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()

    def run(
        self, operation: str, sent: Sequence[tuple[Tag, bytes]], stream: StreamInfo
    ) -> list[bytes]:
        source, write = os.pipe()
        read, target = os.pipe()
        words = (operation, stream.width, stream.height, stream.frame_count)
        with self._lock:
            socket.send_fds(self._control, [" ".join(map(str, words)).encode()], [source, target])
            pid = int(self._control.recv(64))
        os.close(source)
        os.close(target)
        try:
            send(write, sent)
            os.close(write)
            return receive(read, time.monotonic() + PATIENCE_SECONDS)
        finally:
            os.close(read)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            # Until then it holds what it has read: our launchers wait for that, too.
            until = time.monotonic() + PATIENCE_SECONDS
            while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
                time.sleep(0.001)


class SharedLauncher(WeakLauncher):
    """One process for all candidates, in which what one leaves the next one finds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        source, self._write = os.pipe()
        self._read, target = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", rearranged(MANY_JOBS, source, target)],
            pass_fds=(source, target),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        os.close(source)
        os.close(target)

    def run(
        self, operation: str, sent: Sequence[tuple[Tag, bytes]], stream: StreamInfo
    ) -> list[bytes]:
        with self._lock:
            return self._run_alone(operation, sent, stream)

    def _run_alone(
        self, operation: str, sent: Sequence[tuple[Tag, bytes]], stream: StreamInfo
    ) -> list[bytes]:
        assert self._process.stdin is not None
        words = (operation, stream.width, stream.height, stream.frame_count)
        self._process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self._process.stdin.flush()
        send(self._write, sent)
        return receive(self._read, time.monotonic() + PATIENCE_SECONDS)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self._write)
        os.close(self._read)


def planes_of(samples: np.ndarray, stream: StreamInfo) -> Frame:
    luma, chroma = stream.width * stream.height, stream.chroma_width * stream.chroma_height
    small = (stream.chroma_height, stream.chroma_width)
    return Frame(
        samples[:luma].reshape(stream.height, stream.width),
        samples[luma : luma + chroma].reshape(small),
        samples[luma + chroma : luma + 2 * chroma].reshape(small),
    )


def rearranged(script: str, source: int, target: int) -> str:
    """A script that has its pipes where the guest expects them, whatever they were."""
    moves = f"import os\na, b = os.dup({source}), os.dup({target})\n"
    moves += f"os.close({source}); os.close({target})\n" if source > 4 and target > 4 else ""
    return moves + "a, b = os.dup(a), os.dup(b)\nos.dup2(a, 3); os.dup2(b, 4)\n" + script


def send(write: int, messages: Sequence[tuple[Tag, bytes]]) -> None:
    with contextlib.suppress(BrokenPipeError):
        for tag, payload in (*messages, (Tag.END, b"")):
            data = memoryview(pack_header(tag, len(payload)) + payload)
            while data:
                data = data[os.write(write, data) :]


def receive(read: int, deadline: float) -> list[bytes]:
    """Everything until END, of whatever kind and size; a program's error is believed too."""
    results: list[bytes] = []
    while header := read_up_to(read, HEADER.size, deadline):
        try:
            number, length = HEADER.unpack(header)
        except struct.error:
            break
        if number == Tag.END:
            break
        payload = read_up_to(read, min(length, 1 << 23), deadline)
        if number == Tag.ERROR:
            kind, message, detail = (*payload.decode(errors="replace").split("\0"), "", "")[:3]
            known = FailureKind(kind) if kind in ERROR_KINDS else FailureKind.EXCEPTION
            raise CandidateFailure(known, message, detail=detail)
        if number == Tag.SETUP_FAILED:
            raise InfrastructureFailure(payload.decode(errors="replace"))
        results.append(payload)
    return results


def read_up_to(read: int, count: int, deadline: float) -> bytes:
    data = b""
    while len(data) < count:
        if not select.select([read], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise InfrastructureFailure("nothing more came out of it")
        piece = os.read(read, count - len(data))
        if not piece:
            break
        data += piece
    return data
