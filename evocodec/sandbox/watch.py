"""Watch over a job's process from outside: its memory, its threads, and the time that it has had.

A program is charged for its processor time and for the time in which it chose to wait. It is not
charged for time in which it was ready and the machine did not run it, was stopped, waited for the
disk, or in which its supervisor itself did not run. So no program fails because its machine is busy
or was suspended.
Interface: proc_pid_stat(5), proc_pid_status(5).
"""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_ASLEEP = frozenset("SI")
_UNTIMED = ["R", *["0"] * 12]
# Of one look to the next. A supervisor that comes later than this has not run itself, and may have
# kept the program waiting.
_MOST_IDLE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Glance:
    """State of a process at one moment; ``asleep``: every thread waits for something."""

    resident_bytes: int
    shared_bytes: int
    threads: int
    cpu_seconds: float
    asleep: bool


def look(pid: int, *, timed: bool = True, brokered: bool = False) -> Glance | None:
    """Return the state of a process; None when it is gone, or hidden from this user.

    Without ``timed``, which costs several files, its time is not looked at. With ``brokered``,
    waiting for the path broker is no wait for the disk, though it looks alike.
    """
    asleep = _ASLEEP | {"D"} if brokered else _ASLEEP
    folder = Path("/proc", str(pid))
    try:
        status = (folder / "status").read_text(encoding="utf-8", errors="replace")
        state, *numbers = _fields(folder / "stat") if timed else _UNTIMED
    except OSError:
        return None
    facts = dict(line.partition(":")[::2] for line in status.splitlines())
    threads = int(facts.get("Threads", "1"))
    return Glance(
        resident_bytes=_kibibytes(facts, "VmRSS"),
        shared_bytes=_kibibytes(facts, "RssShmem"),
        threads=threads,
        cpu_seconds=(int(numbers[10]) + int(numbers[11])) / _TICKS_A_SECOND,
        asleep=state in asleep and (threads == 1 or _threads_sleep(folder, asleep)),
    )


class ProgramClock:
    """Counts the seconds that a program has had, from one look to the next."""

    def __init__(self, now: float) -> None:
        self.seconds = 0.0
        self.blind = False  # whether it has ever had to guess, for want of a look
        self._last = now
        self._cpu_seconds = -1.0

    def advance(self, now: float, glance: Glance | None, *, serving_seconds: float) -> None:
        """Count the time since the last call; without a glance, as if the program had waited.

        ``serving_seconds``: how long its supervisor has been busy meanwhile; it waited for that.
        """
        elapsed = now - self._last
        self._last = now
        waited = max(0.0, min(elapsed - serving_seconds, _MOST_IDLE_SECONDS))
        if glance is None:
            self.blind = True
            self.seconds += waited
            return
        used = glance.cpu_seconds - max(0.0, self._cpu_seconds)
        first, self._cpu_seconds = self._cpu_seconds < 0, glance.cpu_seconds
        idle = waited if glance.asleep else 0.0
        self.seconds += max(idle, 0.0 if first else min(used, elapsed))


def _threads_sleep(folder: Path, asleep: frozenset[str]) -> bool:
    for task in os.listdir(folder / "task"):
        try:
            if _fields(folder / "task" / task / "stat")[0] not in asleep:
                return False
        except OSError:
            continue  # it has just ended
    return True


def _fields(path: Path) -> list[str]:
    """Return the fields after the name, which may hold spaces and parentheses."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()


def _kibibytes(facts: dict[str, str], name: str) -> int:
    return int(facts.get(name, "0 kB").split()[0]) * 1024
