"""Process of the path broker: starts it, configures it, and connects jobs to it."""

import contextlib
import errno
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evocodec.isolation import landlock, linux, seccomp, seccomp_notify
from evocodec.isolation.broker import HEARTBEAT, STANDARD_FDS, Broker
from evocodec.isolation.virtual_fs import VirtualFs

_MAX_SETUP_BYTES = 256 * 1024
_CONTROL_FD = 3
_REPLY_SECONDS = 3.0  # much less than a supervisor waits for the end of a killed job


class BrokerProcess:
    """Process of the broker: forked before the fork server loads libraries; killed if not needed.

    ``fd`` is the socket that jobs use to reach it, or -1; ``state`` is ``on`` or ``off: reason``.
    """

    def __init__(self) -> None:
        self.pid, self.fd = -1, -1
        reason = seccomp_notify.why_unavailable()
        if not seccomp.supported():
            reason = "no filter for this architecture"
        self.state = f"off: {reason}" if reason else "off: not set up"
        if reason:
            return
        self._control, broker_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.dup2(broker_end.fileno(), _CONTROL_FD)
                os.closerange(_CONTROL_FD + 1, os.sysconf("SC_OPEN_MAX"))
                _serve(socket.socket(fileno=_CONTROL_FD))
            finally:
                os._exit(0)
        broker_end.close()

    def set_up(self, config: Mapping[str, Any], ruleset_fd: int, *, user: int) -> None:
        """Send the paths that jobs may see; ``user`` is the user id to switch to, or -1."""
        if self.pid < 0:
            return
        setup = {
            "trees": [*config["allowed_paths"], *config["devices"]],
            "folders": _folder_times(config["listable"]),
            "links": config["links"],
            "devices": config["devices"],
            "user": user,
        }
        fds = [ruleset_fd] if ruleset_fd >= 0 else []
        try:
            self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_SETUP_BYTES)
            socket.send_fds(self._control, [json.dumps(setup).encode()], fds)
            self.state = self._control.recv(4096).decode() or "off: it ended"
        except OSError as error:
            self.state = f"off: {error}"
        if self.state == "on":
            self.fd = self._control.fileno()
            seccomp_notify.prepare(devices=bool(config["devices"]))
        else:
            self.stop(self.state)

    def is_alive(self) -> bool:
        """Whether the broker answers, or is not needed; False if it has died or is stuck."""
        if self.fd < 0:
            return True
        try:
            # By flag: a time limit on the socket would hold for the jobs' copies of it.
            self._control.send(HEARTBEAT, socket.MSG_DONTWAIT)
            waiting, _, _ = select.select([self._control], [], [], _REPLY_SECONDS)
            return bool(waiting) and self._control.recv(16) == HEARTBEAT
        except OSError:
            return False

    def stop(self, state: str) -> None:
        """Kill the broker; ``state`` is the reason that is reported."""
        self.state = state
        if self.pid >= 0:
            self._control.close()
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = self.fd = -1


def enter(control_fd: int, own_fds: Sequence[int], *, most_threads: int, devices: bool) -> str:
    """Let the broker answer the path calls of this process; returns ``on`` or ``off: reason``.

    ``own_fds``: this process's memory, and the folder of its threads.

    Raises OSError when the broker is gone or hides nothing: the job must not run then.
    """
    try:
        listener = seccomp_notify.install(devices=devices)
    except OSError as error:
        return f"off: {error}"
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, control_fd)
    try:
        limit = str(most_threads).encode()
        socket.send_fds(control, [limit], [listener, *own_fds, *range(STANDARD_FDS)])
    finally:
        control.close()
        for fd in (listener, *own_fds):
            os.close(fd)
    # stat succeeds if the broker hides nothing, and fails with another error if it is dead.
    with contextlib.suppress(FileNotFoundError):
        os.stat("/proc/self")
        raise OSError(errno.EPROTO, "the path broker hides nothing")
    return "on"


def _folder_times(listable: Sequence[str]) -> dict[str, int]:
    """Return module folders with their times of change, which the importer looks at."""
    folders = {path for path in (*listable, *sys.path) if path.startswith("/")}
    return {path: os.stat(path).st_mtime_ns for path in folders if Path(path).is_dir()}


def _serve(control: socket.socket) -> None:
    """Run the broker until its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    message, fds, _flags, _address = socket.recv_fds(control, _MAX_SETUP_BYTES, 1)
    if not message:
        return
    config = json.loads(message)
    try:
        _confine(fds, user=config["user"])
    except OSError as error:
        control.send(f"off: {error}".encode())
        return
    files = VirtualFs(config["trees"], config["folders"], config["links"])
    broker = Broker(control, files, frozenset(map(os.fsencode, config["devices"])))
    control.send(b"on")
    broker.serve()


def _confine(ruleset_fds: Sequence[int], *, user: int) -> None:
    """Limit this process to reading what jobs may read; raises OSError."""
    if user >= 0:
        linux.become(user)
    linux.drop_capabilities()
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # three for each job
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    for fd in ruleset_fds:
        landlock.enter(fd)
        os.close(fd)
