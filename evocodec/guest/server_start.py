"""Start of the fork server: enters its process-id namespace before any library is imported.

A library may start threads when it is imported, as OpenBLAS does, and the kernel lets no process
with threads enter a user namespace. So nothing here may import NumPy, not even indirectly.
"""

import contextlib
import json
import os
import resource
import signal
import socket
from collections.abc import Iterable
from typing import Any

from evocodec.isolation import confine, linux

_MAX_CONFIG_BYTES = 128 * 1024
_ENOUGH_DESCRIPTORS = 4096
_SOFT_LIMITS = (
    *(resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_STACK, resource.RLIMIT_CPU),
    *(resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC),
)
_SIGNALS = (signal.SIGCHLD, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGABRT)


def main(control_fd: int) -> None:
    """Serve until the supervisor closes the control socket."""
    _forget_inherited_state()
    control = socket.socket(fileno=control_fd)
    config = json.loads(control.recv(_MAX_CONFIG_BYTES))
    state = _own_pid_namespace() if config["namespaces"] else confine.POD_MODE
    if state == "on":
        with contextlib.suppress(KeyboardInterrupt):
            _serve_in_namespace(control, config)
        return
    _serve(control, config, pid_namespace=state)


def _forget_inherited_state() -> None:
    """Undo what the caller's shell may have set: a signal mask, ignored signals, soft limits.

    With SIGCHLD blocked, for example, the server would not be notified that a job has ended.
    """
    os.umask(0o022)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    for limit in _SOFT_LIMITS:
        _soft, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (hard, hard))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _ENOUGH_DESCRIPTORS:
        unlimited = hard == resource.RLIM_INFINITY
        enough = _ENOUGH_DESCRIPTORS if unlimited else min(hard, _ENOUGH_DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def _own_pid_namespace() -> str:
    """Enter a process-id namespace, for children; returns the state of the layer."""
    flags = linux.CLONE_NEWPID
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        try:
            linux.unshare(flags)
        except OSError as error:
            return f"off: {error}"
        return "on"

    def with_user_namespace() -> None:
        linux.unshare(flags | linux.CLONE_NEWUSER)
        proc_fd = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
        confine.map_user(proc_fd, uid, uid, gid)
        os.close(proc_fd)

    # Tried by a child first: where the user may not be mapped, there is no way back.
    reason = linux.failure_in_child(with_user_namespace)
    if reason:
        return f"off: {reason}"
    with_user_namespace()
    return "on"


def _serve_in_namespace(control: socket.socket, config: dict[str, Any]) -> None:
    """Fork the init process of the namespace, and wait for its end."""
    pid = os.fork()
    if pid == 0:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        _serve(control, config, pid_namespace="on")
    control.close()
    os.waitpid(pid, 0)
    _remove_groups(config["groups_in"], config["groups_prefix"])


def _serve(control: socket.socket, config: dict[str, Any], *, pid_namespace: str) -> None:
    from evocodec.guest.server import Server  # noqa: PLC0415 - only now: it imports NumPy

    Server(control, config, pid_namespace=pid_namespace).serve()
    os._exit(0)  # exit handlers of libraries might call unmapped code


def _remove_groups(folders: Iterable[str], prefix: str) -> None:
    """Remove the control groups of jobs whose supervisor was killed and cannot do it."""
    for folder in folders:
        for entry in os.listdir(folder):
            if prefix and entry.startswith(prefix):
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.join(folder, entry))
