"""Whether the machine ran out of something, by what the kernel shows; never by a program's word."""

from pathlib import Path

import pytest

from evocodec.domain.errors import CandidateFailure, FailureKind
from evocodec.sandbox.machine_limits import Machine
from evocodec.sandbox.policy import MEBIBYTE
from tests.support.default_options import default_limits

LIMITS = default_limits(processes=16, memory_bytes=512 * MEBIBYTE)
THREAD = CandidateFailure(FailureKind.EXCEPTION, "RuntimeError: can't start new thread")
MEMORY = CandidateFailure(FailureKind.MEMORY, "encode failed: MemoryError: ")
ABORT = CandidateFailure(FailureKind.CRASH, "encode crashed", detail="terminate: std::bad_alloc")
OTHER = CandidateFailure(FailureKind.EXCEPTION, "ValueError: no")


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with plenty of everything: groups of version 2, two of them above ours."""
    mount = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/outer/ours\n",
            "proc/self/mountinfo": mount,
            "proc/loadavg": "0.5 0.5 0.5 2/300 4711\n",
            "proc/sys/kernel/threads-max": "100000\n",
            "proc/sys/kernel/pid_max": "4194304\n",
            "proc/sys/vm/overcommit_memory": "0\n",
            "proc/meminfo": "MemTotal: 8000000 kB\nSwapTotal: 0 kB\nCommitLimit: 4000000 kB\n"
            "Committed_AS: 3000000 kB\nHugePages_Total: 0\n",
            "sys/fs/cgroup/outer/ours/pids.max": "max\n",
            "sys/fs/cgroup/outer/ours/pids.current": "40\n",
            "sys/fs/cgroup/outer/pids.max": "4096\n",
            "sys/fs/cgroup/outer/pids.current": "60\n",
            "proc/7/status": "Name:\tx\nUid:\t12345\t0\t0\t0\nThreads:\t9\n",
        },
    )
    return tmp_path


@pytest.mark.parametrize("failure", [THREAD, MEMORY, ABORT, OTHER])
def test_where_there_is_enough_of_everything_nothing_excuses_a_program(
    root: Path, failure: CandidateFailure
) -> None:
    assert Machine(root, user_id=0).lacks(failure, LIMITS) == ""


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("sys/fs/cgroup/outer/pids.max", "70", "pids.max of /sys/fs/cgroup/outer leaves room"),
        ("sys/fs/cgroup/outer/ours/pids.max", "41", "leaves room for 1 more"),
        ("proc/sys/kernel/threads-max", "310", "kernel.threads_max leaves room for 10 more"),
        ("proc/sys/kernel/pid_max", "301", "kernel.pid_max leaves room for 1 more"),
    ],
)
def test_a_limit_further_out_excuses_a_thread_that_did_not_start_and_nothing_else(
    root: Path, file: str, text: str, words: str
) -> None:
    write(root, {file: text})
    machine = Machine(root, user_id=0)
    assert words in machine.lacks(THREAD, LIMITS)
    assert machine.lacks(OTHER, LIMITS) == ""
    assert machine.lacks(MEMORY, LIMITS) == ""


def test_strict_accounting_of_memory_excuses_memory_that_was_refused(root: Path) -> None:
    write(root, {"proc/sys/vm/overcommit_memory": "2"})
    assert Machine(root, user_id=0).lacks(MEMORY, LIMITS) == ""  # 976 MiB are left
    larger = default_limits(processes=16, memory_bytes=2048 * MEBIBYTE)
    for failure in (MEMORY, ABORT):
        found = Machine(root, user_id=0).lacks(failure, larger)
        assert found == "vm.overcommit_memory=2 leaves 976 MiB, and a job may have 2048"
    assert Machine(root, user_id=0).lacks(THREAD, larger) == ""


def test_a_machine_that_shows_nothing_excuses_nobody(tmp_path: Path) -> None:
    for failure in (THREAD, MEMORY, ABORT, OTHER):
        assert Machine(tmp_path, user_id=0).lacks(failure, LIMITS) == ""
