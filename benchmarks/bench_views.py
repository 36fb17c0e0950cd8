"""Measures what looking at a long run costs: each look-only command, the live display, a resume.

    python benchmarks/bench_views.py --candidates 1000 --candidates 5000

CPU seconds, and wall time where it says so, on a ledger that ``long_ledger`` writes; those of
commands are of the command's own process, the start of Python included. The first ``status`` reads
the whole run and leaves a snapshot; the commands after it go on from that.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.bench_sandbox import Row, markdown
from benchmarks.long_ledger import write_long_ledger
from evocodec.codec.program import derive_facts
from evocodec.domain.events import Event
from evocodec.domain.program import ProgramFacts
from evocodec.search.state import SearchState, new_search_state
from evocodec.store.sqlite.ledger import SqliteLedger
from evocodec.views.progress import Progress
from graph.history import planner_history

TOY = Path(__file__).resolve().parents[1] / "tests" / "data" / "toy_codec.py"
RUN = "run-long"
_ASKED = 200
_KEEPS_NOTHING = "PYTHONDONTWRITEBYTECODE"


def commands(last: str) -> tuple[tuple[str, ...], ...]:
    """Every look-only command, on the newest candidate where it wants one."""
    return (
        ("status",),
        ("--json", "status"),
        ("ls",),
        ("--json", "ls"),
        ("ls", "--limit", "20"),
        ("show", last),
        ("show", RUN),
        ("log", "--candidate", last),
        ("log",),
        ("--json", "log"),
        ("metrics",),
    )


def command_cost(workspace: Path, arguments: Sequence[str]) -> str:
    """What one command took of CPU, wall time and memory; it must succeed."""
    program = [sys.executable, "-m", "evocodec.cli.main", "-w", str(workspace), *arguments]
    nowhere = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    # That of a user, for whom Python has kept compiled modules since the first start.
    environment = {name: text for name, text in os.environ.items() if name != _KEEPS_NOTHING}
    began = time.monotonic()
    child = os.posix_spawn(program[0], program, environment, file_actions=nowhere)
    _, status, used = os.wait4(child, 0)
    wall = time.monotonic() - began
    if status:
        raise SystemExit(f"{' '.join(program)} ended with {status}")
    cpu = used.ru_utime + used.ru_stime
    return f"{cpu:.2f} s CPU, {wall:.2f} s wall, {used.ru_maxrss / 1024:.0f} MiB"


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def display_seconds(events: Iterable[Event]) -> float:
    """The live display follows a run, and is drawn once a candidate."""
    now = [0.0]
    progress = Progress(lambda: now[0])

    def follow() -> None:
        for event in events:
            progress.apply(event)
            if event.kind == "candidate_opened":
                progress.snapshot()

    return cpu_seconds(follow)


class Parsed:
    """Parses programs and counts how many."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, text: str) -> ProgramFacts:
        self.count += 1
        return derive_facts(text)


def search_rows(events: Sequence[Event], programs: dict[str, str], size: int) -> list[Row]:
    """Cost of folding the events on a resume, and of the next proposals."""
    parsed = Parsed()
    state = new_search_state(mode="model", seed=1, read_program=programs.__getitem__, derive=parsed)

    def fold() -> None:
        for event in events:
            state.observe(event)

    seconds = cpu_seconds(fold)
    return [
        Row(f"{size}: what a resume folds", f"{seconds:.2f} s", f"{parsed.count} programs parsed"),
        Row(
            f"{size}: a parent / a planner's history",
            f"{1e6 * each(state.archive.select_parent):.0f} / {1e6 * each(history(state)):.0f} µs",
        ),
    ]


def history(state: SearchState) -> Callable[[], object]:
    """Ask for what a planner is told of the past."""
    return lambda: planner_history(state.run, state.archive, 20)


def each(work: Callable[[], object]) -> float:
    """CPU seconds of one of many calls."""
    return cpu_seconds(lambda: [work() for _ in range(_ASKED)]) / _ASKED


def rows_of(size: int, folder: Path) -> list[Row]:
    """Everything about one ledger."""
    run = write_long_ledger(folder, TOY.read_text(), size)
    # Whatever the first start of all is slower by.
    command_cost(folder, ("--json", "clips", "list"))
    found = [Row(f"{size}: status, the first look", command_cost(folder, ("status",)))]
    found += [
        Row(f"{size}: {' '.join(arguments)}", command_cost(folder, arguments))
        for arguments in commands(f"c{size:04d}")
    ]
    with closing(SqliteLedger(folder / "ledger.sqlite")) as ledger:
        events: list[Event] = []
        read = cpu_seconds(lambda: events.extend(event for _, event in ledger.events(RUN)))
    found.append(Row(f"{size}: reading {len(events):,} events", f"{read:.2f} s"))
    display = 1e3 * display_seconds(events) / size
    found.append(Row(f"{size}: live display", f"{display:.2f} ms a candidate"))
    return found + search_rows(events, run.programs, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, action="append", help="may be given again")
    for size in parser.parse_args().candidates or [1000, 5000]:
        with tempfile.TemporaryDirectory(prefix="evocodec-bench-") as folder:
            print(markdown(rows_of(size, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
