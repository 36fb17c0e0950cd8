"""Confinement: puts this process behind every isolation layer, and reports which layers hold.

Runs once in each job's process, before the candidate's first line. A layer that the machine does
not offer is reported as ``off: reason``; whether that is enough is decided by the supervisor.
"""

import os
import resource
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evocodec.domain.vocabulary import Layer
from evocodec.isolation import broker_process, landlock, linux, mounts, seccomp
from evocodec.isolation.path_lock import PathLock

NOBODY = 65534
POD_MODE = "off: pod mode"
_OPEN_FILES = 64
_STACK_BYTES = 8 << 20
_ULIMITS = {
    resource.RLIMIT_AS: "ulimit -v (RLIMIT_AS)",
    resource.RLIMIT_CORE: "ulimit -c (RLIMIT_CORE)",
    resource.RLIMIT_CPU: "ulimit -t (RLIMIT_CPU)",
    resource.RLIMIT_DATA: "ulimit -d (RLIMIT_DATA)",
    resource.RLIMIT_FSIZE: "ulimit -f (RLIMIT_FSIZE)",
    resource.RLIMIT_MEMLOCK: "ulimit -l (RLIMIT_MEMLOCK)",
    resource.RLIMIT_MSGQUEUE: "ulimit -q (RLIMIT_MSGQUEUE)",
    resource.RLIMIT_NOFILE: "ulimit -n (RLIMIT_NOFILE)",
    resource.RLIMIT_NPROC: "ulimit -u (RLIMIT_NPROC)",
    resource.RLIMIT_STACK: "ulimit -s (RLIMIT_STACK)",
}


@dataclass(frozen=True, slots=True)
class Confinement:
    """Isolation settings for all jobs of a fork server; -1 stands for no descriptor.

    ``ruleset_fd`` is Landlock's. ``broker_fd`` is a socket to the path broker; ``broker_state``
    says why there is none. ``keeps_root`` says why a job of root stays root. ``proc_fd`` is the
    real /proc, which programs cannot see; it is closed before they run. ``address_limit`` is off
    with CUDA, which reserves terabytes of address space. ``scratch_bytes`` is 0
    for no scratch folder; ``no_scratch`` says why there can be none. ``paths_open`` leaves the
    path lock out.
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
    keeps_root: str = ""
    paths_open: bool = False


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Limits of one job; memory and processes are on top of what the fork server has loaded."""

    cpu_seconds: int
    memory_bytes: int
    processes: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """Layers entered so far (layer → state), and the filters to install later.

    ``path_lock`` is for the caller, when the program's libraries are loaded.
    """

    layers: Mapping[Layer, str]
    filter: seccomp.Filter | None
    path_lock: PathLock | None = None


def prepare(config: Confinement) -> Prepared:
    """Enter the layers that need no job: other user, namespaces, scratch folder."""
    layers = {Layer.PID_NAMESPACE: config.pid_namespace}
    layers[Layer.UNPRIVILEGED_USER] = _leave_root(config)
    layers |= _enter_namespaces(config)
    layers[Layer.SCRATCH] = _enter_scratch(config)
    if not seccomp.supported():
        return Prepared(layers, None)
    files = config.ruleset_fd >= 0
    scratch = files and bool(_file_bytes(config, layers))
    calls = seccomp.Filter(devices=config.devices, files=files, scratch=scratch)
    return Prepared(layers, calls, None if config.paths_open else PathLock())


def enter(config: Confinement, prepared: Prepared, job: JobLimits) -> dict[Layer, str]:
    """Enter all other layers; returns the states of all: ``on``, ``abi N`` or ``off: reason``."""
    base_address_bytes = _address_space_bytes(config.proc_fd)
    layers = dict(prepared.layers)
    own_fds = _own_files(config)
    os.close(config.proc_fd)
    layers[Layer.CAPABILITIES] = _attempt(linux.drop_capabilities, "none")
    limits = _limits(config, job, base_address_bytes, _file_bytes(config, layers))
    # Elsewhere the user's other processes count too, on the whole machine: one user's jobs, and
    # whatever else runs as 65534, would take each other's threads.
    if layers[Layer.USER_NAMESPACE] == "on" and linux.counts_processes_per_namespace():
        limits[resource.RLIMIT_NPROC] = job.processes
    layers[Layer.RLIMITS] = _attempt(lambda: _set_limits(limits))
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    # After the last change of credentials, which would clear it.
    linux.prctl(linux.PR_SET_PDEATHSIG, 9)
    layers[Layer.NO_NEW_PRIVS] = _attempt(lambda: linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1))
    layers |= _restrict_files_and_calls(config, own_fds, job, prepared.filter)
    if resource.RLIMIT_NPROC not in limits and layers[Layer.PATH_BROKER] != "on":
        layers[Layer.RLIMITS] += "; threads are counted from outside only"
    layers[Layer.PATH_LOCK] = _path_lock_state(config, layers[Layer.SECCOMP])
    return layers


def _path_lock_state(config: Confinement, seccomp_state: str) -> str:
    """Return what will be so when the program's first line runs: it does not run otherwise."""
    if config.paths_open:
        return "off: left open"
    return "on" if seccomp_state == "on" else "off: needs seccomp"


def _file_bytes(config: Confinement, layers: Mapping[Layer, str]) -> int:
    return 0 if layers[Layer.SCRATCH].startswith("off") else config.scratch_bytes


def _restrict_files_and_calls(
    config: Confinement, own_fds: Sequence[int], job: JobLimits, calls: seccomp.Filter | None
) -> dict[Layer, str]:
    landlock_state = config.landlock_state
    if config.ruleset_fd >= 0:
        landlock_state = _attempt(lambda: landlock.enter(config.ruleset_fd), landlock_state)
        os.close(config.ruleset_fd)
    files = not landlock_state.startswith("off")
    broker_state = config.broker_state
    if own_fds:
        broker_state = broker_process.enter(
            config.broker_fd, own_fds, most_threads=job.processes, devices=config.devices
        )
    seccomp_state = "off: no system call table for this architecture"
    if calls is not None:
        if calls.files and not files:
            calls = seccomp.Filter(devices=config.devices, files=False)
        seccomp_state = _attempt(calls.install)
    if files:
        access = "landlock"
    elif seccomp_state == "on":
        access = "seccomp: nothing can be opened"
    else:
        access = "off: neither Landlock nor seccomp"
    return {
        Layer.LANDLOCK: landlock_state,
        Layer.PATH_BROKER: broker_state,
        Layer.SECCOMP: seccomp_state,
        Layer.READ_ONLY_FILES: access,
    }


def map_user(proc_fd: int, inside: int, outside_uid: int, outside_gid: int) -> None:
    """Write the user and group maps of the user namespace just entered: one user, one group."""
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


def _own_files(config: Confinement) -> list[int]:
    """Open the memory and the threads of this process, for the broker; none without a broker."""
    if config.broker_fd < 0:
        return []
    memory = os.open("self/mem", os.O_RDWR | os.O_CLOEXEC, dir_fd=config.proc_fd)
    folder_flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    return [memory, os.open("self/task", folder_flags, dir_fd=config.proc_fd)]


def _attempt(action: Callable[[], object], done: str = "on") -> str:
    try:
        action()
    except (OSError, ValueError) as error:
        return f"off: {error}"
    return done


def _leave_root(config: Confinement) -> str:
    if not config.leave_root:
        return f"off: {config.keeps_root}" if config.keeps_root else "on"
    return _attempt(_become_nobody)


def _become_nobody() -> None:
    linux.become(NOBODY)
    # Leaving root makes the process undumpable, and /proc/self/uid_map root's.
    linux.prctl(linux.PR_SET_DUMPABLE, 1)


def _enter_namespaces(config: Confinement) -> dict[Layer, str]:
    names = (
        *(Layer.USER_NAMESPACE, Layer.NET_NAMESPACE),
        *(Layer.IPC_NAMESPACE, Layer.UTS_NAMESPACE),
    )
    if not config.namespaces:
        return dict.fromkeys(names, POD_MODE)
    uid, gid = os.getuid(), os.getgid()
    others = linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS

    def with_user() -> None:
        linux.unshare(linux.CLONE_NEWUSER | others)
        map_user(config.proc_fd, NOBODY, uid, gid)

    user = _attempt(with_user)
    rest = user if user == "on" else _attempt(lambda: linux.unshare(others))
    if rest == "on":
        _attempt(lambda: socket.sethostname("sandbox"))
    return dict(zip(names, (user, rest, rest, rest), strict=True))


def _enter_scratch(config: Confinement) -> str:
    """Mount a scratch folder for this job: empty, limited, deleted when the process ends."""
    if not (config.scratch_bytes and config.scratch_inodes):
        return "off: none is allowed"
    if config.no_scratch or config.ruleset_fd < 0:
        return config.no_scratch or "off: needs Landlock"
    size = f"{config.scratch_bytes} bytes, {config.scratch_inodes} inodes"
    made = _attempt(lambda: mounts.mount_scratch(config.scratch_bytes, config.scratch_inodes), size)
    if made == size:
        os.environ["HOME"] = os.environ["TMPDIR"] = mounts.SCRATCH
    return made


def _limits(
    config: Confinement, job: JobLimits, base_address_bytes: int, file_bytes: int
) -> dict[int, int]:
    limits = {
        resource.RLIMIT_CPU: job.cpu_seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_STACK: _STACK_BYTES,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if config.address_limit:
        limits[resource.RLIMIT_AS] = base_address_bytes + job.memory_bytes
    else:
        limits[resource.RLIMIT_DATA] = job.memory_bytes
    return limits


def _set_limits(limits: Mapping[int, int]) -> None:
    """Raises ValueError where the caller's own limits leave a job less than it is promised."""
    for which, value in limits.items():
        _soft, hard = resource.getrlimit(which)
        if hard != resource.RLIM_INFINITY and hard < value:
            raise ValueError(
                f"{_ULIMITS[which]} leaves {hard}, and a job may have {value}: "
                "raise the limit of the shell or the service that started this"
            )
        resource.setrlimit(which, (value, value))


def _address_space_bytes(proc_fd: int) -> int:
    fd = os.open("self/statm", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
    try:
        return int(os.read(fd, 256).split()[0]) * resource.getpagesize()
    finally:
        os.close(fd)
