"""Limits of the machine that a job meets before its own: what the kernel shows, not what jobs say.

A thread that cannot be started, and memory that is refused, look alike to a program whether its own
limit was reached or one further out: a container's limit on processes, a user's, the kernel's, or
strict accounting of memory. A job's word counts for nothing. So when a job reports such a failure,
the machine is looked at: where it has less left than every job may have, the machine is to blame.
Interface: proc(5), cgroups(7), Documentation/mm/overcommit-accounting.rst in the Linux source.
"""

import os
import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.sandbox.cgroups import mounted_groups
from evocodec.sandbox.policy import Limits

_STRICT = 2  # of vm.overcommit_memory
_OF_THREADS = re.compile(
    r"can't start new thread|pthread_create|Resource temporarily unavailable|thread creation"
)
_OF_MEMORY = re.compile(r"MemoryError|Unable to allocate|Cannot allocate memory|bad_alloc")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the kernel shows its limits; ``root`` and ``user_id`` differ only in tests."""

    root: Path = Path("/")
    user_id: int = -1

    def lacks(self, failure: CandidateFailure, limits: Limits) -> str:
        """Say what the machine lacked, if a job's failure may come from that; else empty.

        Asked after the job has ended, so what it had itself counts as free.
        """
        said = f"{failure.message}\n{failure.detail}"
        if failure.kind is FailureKind.MEMORY or _OF_MEMORY.search(said):
            found = self._lack_of_memory(limits.memory_bytes)
            if found:
                return found
        return self._lack_of_threads(limits.processes) if _OF_THREADS.search(said) else ""

    def _lack_of_threads(self, wanted: int) -> str:
        for name, left in self._rooms():
            if left < wanted:
                return f"{name} leaves room for {max(left, 0)} more, and a job may have {wanted}"
        return ""

    def _rooms(self) -> Iterator[tuple[str, int]]:
        """Limits on processes and threads, and how many more each of them allows now."""
        yield from self._groups()
        proc = self.root / "proc"
        with suppress(OSError, ValueError, IndexError):
            running = int((proc / "loadavg").read_text().split()[3].partition("/")[2])
            for name in ("threads-max", "pid_max"):
                most = int((proc / "sys/kernel" / name).read_text())
                yield f"kernel.{name.replace('-', '_')}", most - running
        user = os.getuid() if self.user_id < 0 else self.user_id
        _soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        if user and hard != resource.RLIM_INFINITY:
            yield f"RLIMIT_NPROC of user {user}", hard - self._threads_of(user)

    def _groups(self) -> Iterator[tuple[str, int]]:
        with suppress(OSError, ValueError):
            own = (self.root / "proc/self/cgroup").read_text()
            mounts = (self.root / "proc/self/mountinfo").read_text()
            folders = mounted_groups(own, mounts)
            folder = folders.get("pids") or folders["v2"]
            for group in (folder, *folder.parents):
                place = self.root / group.relative_to("/")
                with suppress(OSError, ValueError):
                    most = int((place / "pids.max").read_text())  # "max" is no number
                    yield f"pids.max of {group}", most - int((place / "pids.current").read_text())

    def _threads_of(self, user: int) -> int:
        count = 0
        for status in (self.root / "proc").glob("[0-9]*/status"):
            with suppress(OSError, ValueError, KeyError):
                facts = dict(
                    line.split(":", 1) for line in status.read_text().splitlines() if ":" in line
                )
                if int(facts["Uid"].split()[0]) == user:
                    count += int(facts["Threads"])
        return count

    def _lack_of_memory(self, wanted_bytes: int) -> str:
        with suppress(OSError, ValueError, KeyError):
            mode = int((self.root / "proc/sys/vm/overcommit_memory").read_text())
            lines = (self.root / "proc/meminfo").read_text().splitlines()
            facts = {name: int(rest.split()[0]) << 10 for name, _, rest in map(_parted, lines)}
            left = facts["CommitLimit"] - facts["Committed_AS"]
            if mode == _STRICT and left < wanted_bytes:
                mebibytes, most = max(left, 0) >> 20, wanted_bytes >> 20
                return f"vm.overcommit_memory=2 leaves {mebibytes} MiB, and a job may have {most}"
        return ""


def _parted(line: str) -> tuple[str, str, str]:
    return line.partition(":")
