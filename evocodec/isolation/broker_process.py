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

from evocodec.isolation import landlock, linux, seccomp
from evocodec.isolation import seccomp_notify as notify
from evocodec.isolation.broker import GIVEN, HEARTBEAT, Broker
from evocodec.isolation.virtual_fs import VirtualFs

_MAX_SETUP_BYTES = 256 * 1024
_CONTROL_FD = 3
_PATIENCE_SECONDS = 3.0  # much less than a supervisor waits for the end of a killed job


class BrokerProcess:
    """Forked before the fork server has loaded anything; killed where it is not needed.

    ``fd`` is what a job speaks to it through, or -1; ``state`` is ``on`` or ``off: reason``.
    """

    def __init__(self) -> None:
        self.pid, self.fd = -1, -1
        reason = "no filter for this architecture" if not seccomp.supported() else notify.why_not()
        self.state = f"off: {reason}" if reason else "off: not set up"
        if reason:
            return
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.dup2(theirs.fileno(), _CONTROL_FD)
                os.closerange(_CONTROL_FD + 1, os.sysconf("SC_OPEN_MAX"))
                _serve(socket.socket(fileno=_CONTROL_FD))
            finally:
                os._exit(0)
        theirs.close()

    def set_up(self, config: Mapping[str, Any], ruleset_fd: int, *, user: int) -> None:
        """Tell it what jobs may know; ``user`` is whom it is to be, or -1."""
        if self.pid < 0:
            return
        view = {
            "trees": [*config["readable"], *config["devices"]],
            "folders": _times_of(config["listable"]),
            "links": config["links"],
            "devices": config["devices"],
            "user": user,
        }
        fds = [ruleset_fd] if ruleset_fd >= 0 else []
        try:
            self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_SETUP_BYTES)
            socket.send_fds(self._control, [json.dumps(view).encode()], fds)
            self.state = self._control.recv(4096).decode() or "off: it ended"
        except OSError as error:
            self.state = f"off: {error}"
        if self.state == "on":
            self.fd = self._control.fileno()
            notify.prepare(devices=bool(config["devices"]))
        else:
            self.stop(self.state)

    def answers(self) -> bool:
        """Whether it is there for its jobs, or not needed; a stopped or stuck one is not."""
        if self.fd < 0:
            return True
        try:
            # By flag: a time limit on the socket would hold for the jobs' copies of it.
            self._control.send(HEARTBEAT, socket.MSG_DONTWAIT)
            waiting, _, _ = select.select([self._control], [], [], _PATIENCE_SECONDS)
            return bool(waiting) and self._control.recv(16) == HEARTBEAT
        except OSError:
            return False

    def stop(self, state: str) -> None:
        """End it; ``state`` says why."""
        self.state = state
        if self.pid >= 0:
            self._control.close()
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = self.fd = -1


def enter(control_fd: int, memory_fd: int, *, devices: bool) -> str:
    """Have this process's paths answered by the broker from now on; ``on`` or ``off: reason``.

    Raises OSError when the broker is gone or does not do what it is for: then nothing may run.
    """
    try:
        listener = notify.install(devices=devices)
    except OSError as error:
        return f"off: {error}"
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, control_fd)
    try:
        socket.send_fds(control, [b"J"], [listener, memory_fd, *range(GIVEN)])
    finally:
        control.close()
        os.close(listener)
        os.close(memory_fd)
    # Without the broker there is an answer, or, when it is dead, another error.
    with contextlib.suppress(FileNotFoundError):
        os.stat("/proc/self")
        raise OSError(errno.EPROTO, "the path broker hides nothing")
    return "on"


def _times_of(listable: Sequence[str]) -> dict[str, int]:
    """The folders in which modules are looked for: the importer lists those whose time changed."""
    folders = {path for path in (*listable, *sys.path) if path.startswith("/")}
    return {path: os.stat(path).st_mtime_ns for path in folders if Path(path).is_dir()}


def _serve(control: socket.socket) -> None:
    """All of the broker's life."""
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
    view = VirtualFs(config["trees"], config["folders"], config["links"])
    broker = Broker(control, view, frozenset(map(os.fsencode, config["devices"])))
    control.send(b"on")
    broker.serve()


def _confine(ruleset_fds: Sequence[int], *, user: int) -> None:
    """Be able to read what jobs may read, and nothing else; raises OSError."""
    if user >= 0:
        linux.become(user)
    linux.drop_capabilities()
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # two for each job
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    for fd in ruleset_fds:
        landlock.enter(fd)
        os.close(fd)
