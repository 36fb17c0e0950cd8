"""Control groups, one per job, where the machine allows them: limits on memory and on processes.

Groups are made below the caller's own group, so that its limits hold for jobs too. Their names hold
the caller's process id, so that a later caller can find those of dead processes.
Interface: Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst in the Linux source.
"""

import contextlib
import itertools
import os
import re
import secrets
import signal
import time
from pathlib import Path

from evocodec.domain.results import ResourceUse
from evocodec.sandbox.policy import MEBIBYTE, PROBE_LIMITS, Limits

_CONTROLLERS = ("memory", "pids")
# Process-id namespace and process id of who made it, and a token: containers may share folders.
_NAME = re.compile(r"evocodec-(\d+)-(\d+)-[0-9a-f]+\.\d+")
# What the kernel charges beside a program's own pages: page tables, stacks, pages of files.
_MEMORY_SLACK_BYTES = 64 * MEBIBYTE
_REMOVAL_SECONDS = 2.0


class Cgroups:
    """Makes the groups for jobs of one fork server; thread-safe.

    ``folders`` maps each controller to the folder in which groups are made: two folders in version
    1, the same one in version 2. Raises OSError when groups cannot be made there.
    """

    def __init__(self, version: int, folders: dict[str, Path]) -> None:
        self.version = version
        self.folders = folders
        self.prefix = f"{name_prefix()}{secrets.token_hex(4)}."
        self._numbers = itertools.count(1)
        self.remove_stale()
        trial = JobGroup(self, f"{self.prefix}0")
        try:
            trial.limit(PROBE_LIMITS)
        finally:
            trial.remove()

    @property
    def state(self) -> str:
        """State of this layer for the isolation report."""
        return f"v{self.version}: {', '.join(self.folders)}"

    def make(self) -> "JobGroup":
        """Make a new, empty group; raises OSError."""
        return JobGroup(self, f"{self.prefix}{next(self._numbers)}")

    def remove_stale(self) -> None:
        """Remove groups of dead processes; a group with processes in it cannot be removed."""
        namespace = _pid_namespace()
        for folder in set(self.folders.values()):
            for entry in os.listdir(folder):
                match = _NAME.fullmatch(entry)
                if not match or match.group(1) != namespace:
                    continue
                if not Path("/proc", match.group(2)).exists():
                    with contextlib.suppress(OSError):
                        (folder / entry).rmdir()


class JobGroup:
    """The group of one job; owned by the thread that watches the job."""

    def __init__(self, parent: Cgroups, name: str) -> None:
        self._version = parent.version
        self._places = {key: folder / name for key, folder in parent.folders.items()}
        self._folders = sorted(set(self._places.values()))
        try:
            for folder in self._folders:
                folder.mkdir()
        except OSError:
            self.remove()
            raise

    def limit(self, limits: Limits, shared_bytes: int = 0) -> None:
        """Set the limits; ``shared_bytes``: size of the job's shared memory. Raises OSError."""
        memory, pids = self._places["memory"], self._places["pids"]
        total_bytes = limits.memory_bytes + shared_bytes + _MEMORY_SLACK_BYTES
        file = "memory.limit_in_bytes" if self._version == 1 else "memory.max"
        (memory / file).write_text(str(total_bytes))
        (pids / "pids.max").write_text(str(limits.processes))
        if self._version == 2:
            with contextlib.suppress(OSError):  # a kernel without swap
                (memory / "memory.swap.max").write_text("0")

    def add(self, pid: int) -> None:
        """Move a process into the group; raises OSError."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def use(self) -> ResourceUse:
        """Return memory and CPU time so far; 0 where the kernel does not report it."""
        memory = self._places["memory"]
        file = "memory.max_usage_in_bytes" if self._version == 1 else "memory.peak"
        peak, cpu = 0, 0.0
        with contextlib.suppress(OSError, ValueError):
            peak = int((memory / file).read_text())
        with contextlib.suppress(OSError, ValueError):
            facts = (memory / "cpu.stat").read_text().split() if self._version == 2 else []
            cpu = int(dict(zip(facts[::2], facts[1::2], strict=True)).get("usage_usec", 0)) / 1e6
        return ResourceUse(cpu_seconds=cpu, peak_memory_bytes=peak)

    def was_full(self) -> bool:
        """Whether processes were killed because the group's own limit of memory was reached.

        Not so when the machine, or a group further up, was out of memory.
        """
        if self._version == 2:
            return self._event("memory.events", "oom") > 0
        return self._event("memory.oom_control", "oom_kill") > 0 and self._reached_limit()

    def _event(self, file: str, name: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            words = (self._places["memory"] / file).read_text().split()
            return int(dict(zip(words[::2], words[1::2], strict=True)).get(name, 0))
        return 0

    def _reached_limit(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return int((self._places["memory"] / "memory.failcnt").read_text()) > 0
        return False

    def kill(self) -> None:
        """Kill every process in the group."""
        if self._version == 2:
            with contextlib.suppress(OSError):
                (self._folders[0] / "cgroup.kill").write_text("1")
                return
        for folder in self._folders:
            with contextlib.suppress(OSError):
                for pid in (folder / "cgroup.procs").read_text().split():
                    if int(pid) > 0:  # 0: of another process-id namespace
                        os.kill(int(pid), signal.SIGKILL)

    def remove(self) -> None:
        """Kill what is left and remove the group; if that fails, ``remove_stale`` does it later."""
        deadline = time.monotonic() + _REMOVAL_SECONDS
        for folder in self._folders:
            while not _removed(folder) and time.monotonic() < deadline:
                self.kill()
                time.sleep(0.002)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def name_prefix() -> str:
    """Return the prefix of the names of all groups of this process."""
    return f"evocodec-{_pid_namespace()}-{os.getpid()}-"


def _pid_namespace() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def find() -> Cgroups:
    """Return the groups that this process may make; raises OSError with the reason if none."""
    own = Path("/proc/self/cgroup").read_text(encoding="ascii")
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    return Cgroups(*locate(own, mounts))


def mounted_groups(own: str, mounts: str) -> dict[str, Path]:
    """Return the folder of the own group by controller (``v2``: that of version 2).

    ``own`` and ``mounts`` are the texts of /proc/self/cgroup and /proc/self/mountinfo.
    """
    paths: dict[str, str] = {}
    for line in own.splitlines():
        _number, names, path = line.split(":", 2)
        paths |= dict.fromkeys(names.split(",") if names else ["v2"], path)
    found: dict[str, Path] = {}
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        root, place = left.split()[3:5]
        kind, _source, options = right.split(" ", 2)
        offered = {"cgroup2": ["v2"], "cgroup": options.split(",")}.get(kind, [])
        for name in paths.keys() & set(offered):
            found[name] = Path(place) / os.path.relpath(paths[name], root)
    return found


def locate(own: str, mounts: str) -> tuple[int, dict[str, Path]]:
    """Return version and folders, from the texts of /proc/self/cgroup and /proc/self/mountinfo.

    Raises OSError when the controllers are missing, or not delegated in version 2.
    """
    found = mounted_groups(own, mounts)
    if found.keys() >= set(_CONTROLLERS):
        return 1, {name: found[name] for name in _CONTROLLERS}
    if "v2" not in found:
        raise OSError("no cgroup file system with memory and pids is mounted")
    folder = found["v2"]
    _enable_controllers(folder)
    return 2, dict.fromkeys(_CONTROLLERS, folder)


def _enable_controllers(folder: Path) -> None:
    """Make the controllers available in groups below ``folder`` (version 2)."""
    switch = folder / "cgroup.subtree_control"
    if not set(_CONTROLLERS) <= set(switch.read_text(encoding="ascii").split()):
        try:
            switch.write_text(" ".join(f"+{name}" for name in _CONTROLLERS))
        except FileNotFoundError as error:
            names = " and ".join(_CONTROLLERS)
            raise OSError(f"version 2 has no {names} here: version 1 holds them") from error
