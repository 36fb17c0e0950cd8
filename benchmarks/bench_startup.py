"""Benchmark of start-up: from ``evocodec eval`` to its first encode, with cached anchors."""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench_sandbox import Row, markdown

REPEATS = 5
_FIRST_ENCODE = "smoke test begins"
_KEEPS_NOTHING = "PYTHONDONTWRITEBYTECODE"


@dataclass(frozen=True, slots=True)
class Start:
    """Wall time since the command was typed, and CPU time of its own process until then."""

    wall_seconds: float
    cpu_seconds: float


def _environment() -> dict[str, str]:
    """That of a user, for whom Python has kept compiled modules since the first start."""
    return {name: value for name, value in os.environ.items() if name != _KEEPS_NOTHING}


def start_once(workspace: Path) -> Start:
    """Type the command, and end it as soon as it begins to encode."""
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "evocodec.cli.main", "-w", str(workspace), "eval", "inter"],
        env=_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if _FIRST_ENCODE in line:
                break
        else:
            raise SystemExit(f"no encode began:\n{said}")
        wall = time.monotonic() - began
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        process.send_signal(signal.SIGINT)
        process.communicate()
    return Start(wall, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"))


def warm_starts(repeats: int = REPEATS) -> list[Start]:
    """Fill the anchor cache, then start as often as asked."""
    with tempfile.TemporaryDirectory(prefix="evocodec-bench-") as folder:
        start_once(Path(folder))
        return [start_once(Path(folder)) for _ in range(repeats)]


def startup_row(starts: list[Start]) -> Row:
    """A row of the table of docs/benchmarks.md."""
    wall = statistics.median(start.wall_seconds for start in starts)
    cpu = statistics.median(start.cpu_seconds for start in starts)
    return Row(
        "time to first encode, warm",
        f"{wall:.2f} s",
        f"`evocodec eval`, median of {len(starts)}; {cpu:.2f} s of CPU in its own process",
    )


if __name__ == "__main__":
    print(markdown([startup_row(warm_starts())]))
