"""Confinement: puts this process behind every isolation layer, and reports which layers hold.

Runs once in each job's process, before the candidate's first line. A layer that the machine does
not offer is reported as ``off: reason``; whether that is enough is decided by the supervisor.
"""

import os
import resource
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evocodec.isolation import broker_process, landlock, linux, mounts, seccomp

NOBODY = 65534
POD_MODE = "off: pod mode"
_OPEN_FILES = 64
_STACK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Confinement:
    """What the supervisor asks for, for all jobs of a fork server; -1 for no descriptor.

    ``ruleset_fd`` is of Landlock. ``broker_fd`` leads to the path broker; ``broker_state`` says why
    not. ``proc_fd`` is the real /proc, which programs do not see; it is closed before they run.
    ``address_limit`` is off where CUDA, which reserves address space by the terabyte, is used.
    ``scratch_bytes`` is 0 for no scratch; ``no_scratch`` says why there can be none.
    """

    ruleset_fd: int
    landlock_state: str
    pid_namespace: str
    leave_root: bool
    proc_fd: int
    broker_fd: int = -1
    broker_state: str = ""
    namespaces: bool = True
    devices: bool = False
    address_limit: bool = True
    scratch_bytes: int = 0
    scratch_inodes: int = 0
    no_scratch: str = ""


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What one job may use; memory and processes beyond what the fork server has loaded."""

    cpu_seconds: int
    memory_bytes: int
    processes: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """The layers entered so far, layer → state, and the filter to come."""

    layers: Mapping[str, str]
    filter: seccomp.Filter | None


def prepare(wanted: Confinement) -> Prepared:
    """Go as far as is possible without a job: to another user, other namespaces, own scratch."""
    layers = {"pid_namespace": wanted.pid_namespace}
    if wanted.leave_root:
        layers["unprivileged_user"] = _attempt(_become_nobody)
    layers |= _enter_namespaces(wanted)
    layers["scratch"] = _enter_scratch(wanted)
    if not seccomp.supported():
        return Prepared(layers, None)
    files = wanted.ruleset_fd >= 0
    scratch = files and bool(_file_bytes(wanted, layers))
    return Prepared(layers, seccomp.Filter(devices=wanted.devices, files=files, scratch=scratch))


def enter(wanted: Confinement, prepared: Prepared, allowance: JobLimits) -> dict[str, str]:
    """Apply every other layer; returns layer → ``on``, ``abi N`` or ``off: reason`` for all."""
    base_address_bytes = _address_space_bytes(wanted.proc_fd)
    layers = dict(prepared.layers)
    memory_fd = _own_memory(wanted)
    os.close(wanted.proc_fd)
    layers["capabilities"] = _attempt(linux.drop_capabilities, "none")
    limits = _limits(wanted, allowance, base_address_bytes, _file_bytes(wanted, layers))
    # Without its own user namespace the user's other processes would count against the limit.
    if layers["user_namespace"] == "on" or layers.get("unprivileged_user") == "on":
        limits[resource.RLIMIT_NPROC] = allowance.processes
    layers["rlimits"] = _attempt(lambda: _set_limits(limits))
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    # After the last change of credentials, which would clear it.
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    layers["no_new_privs"] = _attempt(lambda: linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1))
    layers |= _restrict_files_and_calls(wanted, memory_fd, prepared.filter)
    return layers


def _file_bytes(wanted: Confinement, layers: Mapping[str, str]) -> int:
    return 0 if layers["scratch"].startswith("off") else wanted.scratch_bytes


def _restrict_files_and_calls(
    wanted: Confinement, memory_fd: int, calls: seccomp.Filter | None
) -> dict[str, str]:
    landlock_state = wanted.landlock_state
    if wanted.ruleset_fd >= 0:
        landlock_state = _attempt(lambda: landlock.enter(wanted.ruleset_fd), landlock_state)
        os.close(wanted.ruleset_fd)
    files = not landlock_state.startswith("off")
    broker_state = wanted.broker_state
    if memory_fd >= 0:
        fds = (wanted.broker_fd, memory_fd)
        broker_state = broker_process.enter(*fds, devices=wanted.devices)
    seccomp_state = "off: no system call table for this architecture"
    if calls is not None:
        if calls.files and not files:
            calls = seccomp.Filter(devices=wanted.devices, files=False)
        seccomp_state = _attempt(calls.install)
    if files:
        access = "landlock"
    elif seccomp_state == "on":
        access = "seccomp: nothing can be opened"
    else:
        access = "off: neither Landlock nor seccomp"
    return {
        "landlock": landlock_state,
        "path_broker": broker_state,
        "seccomp": seccomp_state,
        "read_only_files": access,
    }


def map_user(proc_fd: int, inside: int, outside_uid: int, outside_gid: int) -> None:
    """Fill in the maps of the user namespace just entered, with one user and one group."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside} {outside_uid} 1"),
        ("gid_map", f"{inside} {outside_gid} 1"),
    ):
        fd = os.open(f"self/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc_fd)
        try:
            os.write(fd, text.encode("ascii"))
        finally:
            os.close(fd)


def _own_memory(wanted: Confinement) -> int:
    """This process's memory as a file, for the broker; -1 without one."""
    if wanted.broker_fd < 0:
        return -1
    return os.open("self/mem", os.O_RDWR | os.O_CLOEXEC, dir_fd=wanted.proc_fd)


def _attempt(action: Callable[[], object], done: str = "on") -> str:
    try:
        action()
    except (OSError, ValueError) as error:
        return f"off: {error}"
    return done


def _become_nobody() -> None:
    linux.become(NOBODY)
    # Leaving root makes the process undumpable, and /proc/self/uid_map root's.
    linux.prctl(linux.PR_SET_DUMPABLE, 1)


def _enter_namespaces(wanted: Confinement) -> dict[str, str]:
    names = ("user_namespace", "net_namespace", "ipc_namespace", "uts_namespace")
    if not wanted.namespaces:
        return dict.fromkeys(names, POD_MODE)
    uid, gid = os.getuid(), os.getgid()
    others = linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS

    def with_user() -> None:
        linux.unshare(linux.CLONE_NEWUSER | others)
        map_user(wanted.proc_fd, NOBODY, uid, gid)

    user = _attempt(with_user)
    rest = user if user == "on" else _attempt(lambda: linux.unshare(others))
    if rest == "on":
        _attempt(lambda: socket.sethostname("sandbox"))
    return dict(zip(names, (user, rest, rest, rest), strict=True))


def _enter_scratch(wanted: Confinement) -> str:
    """A folder of this job's own, empty and limited, gone when its process is."""
    if not (wanted.scratch_bytes and wanted.scratch_inodes):
        return "off: none is allowed"
    if wanted.no_scratch or wanted.ruleset_fd < 0:
        return wanted.no_scratch or "off: needs Landlock"
    size = f"{wanted.scratch_bytes} bytes, {wanted.scratch_inodes} inodes"
    made = _attempt(lambda: mounts.mount_scratch(wanted.scratch_bytes, wanted.scratch_inodes), size)
    if made == size:
        os.environ["HOME"] = os.environ["TMPDIR"] = mounts.SCRATCH
    return made


def _limits(
    wanted: Confinement, allowance: JobLimits, base_address_bytes: int, file_bytes: int
) -> dict[int, int]:
    limits = {
        resource.RLIMIT_CPU: allowance.cpu_seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_STACK: _STACK_BYTES,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if wanted.address_limit:
        limits[resource.RLIMIT_AS] = base_address_bytes + allowance.memory_bytes
    else:
        limits[resource.RLIMIT_DATA] = allowance.memory_bytes
    return limits


def _set_limits(limits: Mapping[int, int]) -> None:
    for which, value in limits.items():
        _soft, hard = resource.getrlimit(which)
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (bounded, bounded))


def _address_space_bytes(proc_fd: int) -> int:
    fd = os.open("self/statm", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
    try:
        return int(os.read(fd, 256).split()[0]) * resource.getpagesize()
    finally:
        os.close(fd)
