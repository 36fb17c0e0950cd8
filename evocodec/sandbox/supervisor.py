"""Supervisor of one job: feeds it, checks its results as hostile input, ends it on time.

Owned by the calling thread; nothing here is shared between jobs.
"""

import contextlib
import json
import os
import selectors
import socket
import struct
import time

from evocodec.domain.errors import CandidateFailure, FailureKind, InfrastructureFailure
from evocodec.domain.results import ResourceUse
from evocodec.domain.vocabulary import Layer
from evocodec.guest.framing import FramingError, Message, MessageReader, Tag
from evocodec.guest.ring import DOORBELL
from evocodec.guest.server import EXIT_REPORT, OUT_OF_TIME
from evocodec.sandbox.cgroups import JobGroup
from evocodec.sandbox.job_result import JobProgress, conclude
from evocodec.sandbox.jobs import Buffer, Job, Pipes, ServerLostError
from evocodec.sandbox.launcher import IsolationReport
from evocodec.sandbox.outcome import failure_from_error
from evocodec.sandbox.policy import Floor
from evocodec.sandbox.watch import ProgramClock, look

WATCH_SECONDS = 0.1
_MAX_PASSES = 16  # reads or writes before looking at the other descriptors again
_LATE_SECONDS = 1.0
SETUP_SECONDS = 10.0
EXIT_GRACE_SECONDS = 10.0
_STDERR_FLOOD_BYTES = 64 << 20
_CREDENTIALS = struct.Struct("3i")
_MAX_SETUP_BYTES = 16 * 1024
_MAX_ERROR_BYTES = 64 * 1024


class Supervisor:
    """Runs one job to its end over the given pipes."""

    def __init__(
        self, job: Job, pipes: Pipes, floor: Floor, group: JobGroup | None, group_state: str
    ) -> None:
        self._job = job
        self._floor = floor
        self._pipes = pipes
        self._group = group
        self._group_state = group_state
        self._progress = JobProgress()
        self._reader = MessageReader(self._check)
        self._selector = selectors.PollSelector()
        self._pending: memoryview | None = None
        self._pid = 0
        self._deadline = time.monotonic() + SETUP_SECONDS
        self._kill_deadline = 0.0
        self._next_watch = 0.0
        self._last_pass = time.monotonic()
        self._serving_seconds = 0.0  # since the last look: the program may have waited for us

    def run(self) -> tuple[list[Buffer], ResourceUse, IsolationReport]:
        """Run the job and return its results, resource use and isolation layers.

        Raises CandidateFailure, InfrastructureFailure or ServerLostError.
        """
        pipes = self._pipes
        for fd in (pipes.source, pipes.target, pipes.errors):
            os.set_blocking(fd, False)
        pipes.status.setblocking(False)
        try:
            self._selector.register(pipes.target, selectors.EVENT_READ, self._receive_some)
            self._selector.register(pipes.errors, selectors.EVENT_READ, self._receive_stderr)
            self._selector.register(pipes.status, selectors.EVENT_READ, self._receive_status)
            while self._progress.exit_report is None:
                events = self._selector.select(self._pause())
                began = time.monotonic()
                for key, _events in events:
                    key.data()
                now = time.monotonic()
                self._serving_seconds += now - began
                self._watch(now)
            self._drain()
        finally:
            self._selector.close()
            pipes.close()
            self._remove_group()
        return conclude(self._job, self._progress)

    # -- the loop ------------------------------------------------------------------------------

    def _pause(self) -> float:
        limit = self._kill_deadline or self._deadline
        return max(0.0, min(limit - time.monotonic(), WATCH_SECONDS))

    def _watch(self, now: float) -> None:
        late, self._last_pass = now - self._last_pass - WATCH_SECONDS, now
        if late > _LATE_SECONDS:  # suspended, stopped or starved: the job may have been waiting
            self._deadline += late
            self._kill_deadline += late if self._kill_deadline else 0.0
        if self._kill_deadline:
            if now > self._kill_deadline:
                raise ServerLostError("a killed job was not reported as ended")
        elif now >= self._deadline:
            self._give_up(now)
        elif self._pid and now >= self._next_watch:
            self._next_watch = now + WATCH_SECONDS
            self._watch_process(now)

    def _watch_process(self, now: float) -> None:
        """Enforce what the kernel does not always count: resident memory, threads and time."""
        progress, limits = self._progress, self._job.limits
        brokered = progress.layers is not None and progress.layers.holds(Layer.PATH_BROKER)
        glance = look(self._pid, timed=progress.entered, brokered=brokered)
        if progress.clock is not None:
            progress.clock.advance(now, glance, serving_seconds=self._serving_seconds)
            self._serving_seconds = 0.0
            if progress.clock.seconds >= limits.wall_seconds:
                seconds = f"{limits.wall_seconds:g} s of wall time"
                self._stop(FailureKind.TIMEOUT, f"took longer than {seconds}")
                return
        if glance is None:
            return
        resident = glance.resident_bytes
        if self._job.shared is not None:
            resident -= min(glance.shared_bytes, self._job.shared.size_bytes)
        if progress.base_rss_bytes < 0:
            progress.base_rss_bytes = resident
        if resident - progress.base_rss_bytes > limits.memory_bytes:
            self._stop(FailureKind.MEMORY, f"used more than {limits.memory_bytes >> 20} MiB")
        elif glance.threads > limits.processes:
            self._stop(FailureKind.FORBIDDEN, f"started more than {limits.processes} threads")

    def _give_up(self, now: float) -> None:
        """End a job for which the machine had too little time: that is not the program's fault."""
        clock = self._progress.clock
        if clock is None:
            raise ServerLostError(f"no process was ready within {SETUP_SECONDS:g} s")
        if not self._progress.complete:
            self._progress.lost = (
                f"the machine is too busy: of {now - self._progress.ready_at:.0f} s, "
                f"{self._job.operation} could use {clock.seconds:.0f}"
            )
        self._kill(OUT_OF_TIME)

    def _stop(self, kind: FailureKind, message: str) -> None:
        """Blame whose turn it is and kill the job's processes; the first reason counts."""
        progress = self._progress
        if not progress.entered:
            progress.setup_error = progress.setup_error or message
        elif progress.stopped is None and not progress.complete:
            done = progress.delivered
            unit = "frames" if self._job.result_tag is Tag.FRAME else "packets"
            text = f"{self._job.operation} {message}; it had delivered {done} {unit}"
            progress.stopped = CandidateFailure(kind, text)
        self._kill(OUT_OF_TIME if kind is FailureKind.TIMEOUT else b"K")

    def _kill(self, message: bytes = b"K") -> None:
        if not self._kill_deadline:
            self._progress.ended_at = self._progress.ended_at or time.monotonic()
            self._kill_deadline = time.monotonic() + EXIT_GRACE_SECONDS
            with contextlib.suppress(OSError):
                self._pipes.status.send(message)

    def _join_group(self) -> None:
        """Put the job into its control group, before it gets the program."""
        if self._group is None or not self._pid:
            return
        try:
            shared = self._job.shared
            self._group.limit(self._job.limits, shared.size_bytes if shared else 0)
            self._group.add(self._pid)
        except OSError as error:
            self._group_state = f"off: {error}"

    def _remove_group(self) -> None:
        if self._group is not None:
            self._group.kill()
            self._progress.group_use = self._group.use()
            if not self._progress.complete:
                self._progress.group_was_full = self._group.was_full()
            self._group.remove()

    def _unregister(self, fd: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    # -- sending to the job --------------------------------------------------------------------

    def _send(self) -> None:
        """Fill the pipe, but return often: poll(2) reports it writable only once it is empty."""
        for _ in range(_MAX_PASSES):
            if not self._send_piece():
                break

    def _send_piece(self) -> bool:
        if self._pending is None:
            self._pending = next(self._job.outgoing, None)
        if self._pending is None:
            self._unregister(self._pipes.source)
            return False
        try:
            sent = os.write(self._pipes.source, self._pending)
        except BlockingIOError:
            return False
        except BrokenPipeError:
            self._unregister(self._pipes.source)
            return False
        self._pending = self._pending[sent:] if sent < self._pending.nbytes else None
        return True

    # -- receiving from the job: hostile input once ENTERED has come ------------------------------

    def _receive_some(self) -> None:
        open_fds = self._selector.get_map()
        for _ in range(_MAX_PASSES):
            if self._pipes.target not in open_fds or not self._receive():
                break

    def _receive(self) -> bool:
        """Read once; returns False when there is nothing to read at the moment."""
        try:
            count = os.readv(self._pipes.target, [self._reader.space()])
        except BlockingIOError:
            return False
        if count == 0:
            self._unregister(self._pipes.target)
            if not self._reader.idle and not self._kill_deadline:
                self._stop(FailureKind.BAD_OUTPUT, "ended in the middle of a message")
            return True
        try:
            message = self._reader.filled(count)
            if message is not None:
                self._handle(message)
        except FramingError as error:
            self._unregister(self._pipes.target)
            self._stop(FailureKind.BAD_OUTPUT, f"broke the framing of its output: {error}")
        except CandidateFailure as failure:
            self._unregister(self._pipes.target)
            self._stop(failure.kind, failure.message)
        return True

    def _check(self, tag: Tag, length: int) -> None:
        job, progress = self._job, self._progress
        if progress.layers is None:
            if tag not in {Tag.READY, Tag.SETUP_FAILED} or length > _MAX_SETUP_BYTES:
                raise FramingError(f"unexpected {tag.name} of {length} bytes")
        elif not progress.entered:
            if tag is not Tag.ENTERED or length:
                raise FramingError(f"unexpected {tag.name} of {length} bytes")
        elif not progress.started:
            refused = tag is Tag.SETUP_FAILED and length <= _MAX_SETUP_BYTES
            if not refused and (tag is not Tag.STARTED or length):
                raise FramingError(f"unexpected {tag.name} of {length} bytes")
        elif tag is job.result_tag:
            if progress.delivered >= job.max_messages:
                kind = FailureKind.BAD_OUTPUT if job.exact_count else FailureKind.OUTPUT_LIMIT
                raise CandidateFailure(kind, f"delivered more than {job.max_messages} results")
            if tag is Tag.FRAME and length != len(DOORBELL):
                raise FramingError(f"a frame announced with {length} bytes")
            if tag is not Tag.FRAME and progress.result_bytes + length > job.max_bytes:
                kind = FailureKind.OUTPUT_LIMIT
                raise CandidateFailure(kind, f"delivered more than {job.max_bytes} bytes")
        elif not (tag is Tag.END and length == 0) and not (
            tag is Tag.ERROR and length <= _MAX_ERROR_BYTES
        ):
            raise FramingError(f"unexpected {tag.name} of {length} bytes")

    def _handle(self, message: Message) -> None:
        progress = self._progress
        if message.tag is Tag.READY:
            if not self._pid:
                self._receive_status()  # sent before, but not yet looked at
            layers = {**json.loads(message.payload), Layer.CGROUP: self._group_state}
            self._start_candidate(IsolationReport(layers))
        elif message.tag is Tag.SETUP_FAILED:
            progress.setup_error = message.payload.decode("utf-8", "replace")
        elif message.tag is Tag.ENTERED:
            progress.ready_at = time.monotonic()
            progress.clock = ProgramClock(progress.ready_at)
            self._deadline = progress.ready_at + self._job.limits.patience_seconds
            self._serving_seconds = 0.0
        elif message.tag is Tag.STARTED:
            progress.started = True
        elif message.tag is self._job.result_tag:
            self._store_result(message)
        else:
            self._finish(message)

    def _store_result(self, message: Message) -> None:
        progress, shared = self._progress, self._job.shared
        if message.tag is Tag.FRAME and shared is not None:
            result: Buffer = shared.take(progress.delivered).data
        else:
            result = message.payload
            progress.result_bytes += len(message.payload)
        if self._job.sink is None:
            progress.results.append(result)
        else:
            self._job.sink(progress.delivered, result)
        progress.delivered += 1

    def _finish(self, message: Message) -> None:
        job, progress = self._job, self._progress
        self._unregister(self._pipes.target)
        if message.tag is Tag.ERROR:
            progress.reported = failure_from_error(job.operation, message.payload)
        elif job.exact_count and progress.delivered < job.max_messages:
            text = f"yielded {progress.delivered} of {job.max_messages} frames"
            progress.reported = CandidateFailure(FailureKind.BAD_OUTPUT, f"{job.operation} {text}")
        progress.complete = True
        self._kill()

    def _start_candidate(self, layers: IsolationReport) -> None:
        """Send the program, once the layers are known to hold."""
        missing = layers.missing_for(self._floor)
        if missing:
            reasons = {name: layers.layers.get(name) for name in " or ".join(missing).split(" or ")}
            why = "; ".join(f"{name} is {state}" for name, state in reasons.items() if state)
            raise InfrastructureFailure(
                f"the sandbox lacks {', '.join(missing)} here ({why}); see `evocodec doctor`, "
                "or pass --unsafe to run programs without it"
            )
        self._progress.layers = layers
        self._deadline = time.monotonic() + SETUP_SECONDS
        self._selector.register(self._pipes.source, selectors.EVENT_WRITE, self._send)

    def _receive_stderr(self) -> bool:
        try:
            data = os.read(self._pipes.errors, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._unregister(self._pipes.errors)
            return False
        progress, limit = self._progress, self._job.limits.stderr_bytes
        progress.stderr_seen += len(data)
        progress.stderr = (progress.stderr + data)[-limit:]
        if progress.stderr_seen > _STDERR_FLOOD_BYTES:
            self._unregister(self._pipes.errors)
            self._stop(FailureKind.OUTPUT_LIMIT, "flooded its standard error")
            return False
        return True

    def _receive_status(self) -> None:
        try:
            data, ancillary, _flags, _address = self._pipes.status.recvmsg(
                512, socket.CMSG_SPACE(_CREDENTIALS.size)
            )
        except (BlockingIOError, ConnectionResetError):
            # A reset comes when the server closes its end before reading our "K"; the report that
            # it sent first is still there to be read.
            return
        if not data and self._progress.exit_report is None:
            raise ServerLostError("the fork server is gone")
        if data[:1] == b"U":
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    self._pid = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0]
                    self._join_group()
        elif data[:1] == b"!":
            reason = data[1:].decode("utf-8", "replace")
            raise InfrastructureFailure(f"the sandbox could not start a process: {reason}")
        elif len(data) == EXIT_REPORT.size:
            self._progress.exit_report = EXIT_REPORT.unpack(data)[1:]

    def _drain(self) -> None:
        """Read what the job wrote before it ended; its end may be seen before its last output."""
        open_fds = self._selector.get_map()
        while self._pipes.target in open_fds and self._receive():
            pass
        while self._pipes.errors in open_fds and self._receive_stderr():
            pass
