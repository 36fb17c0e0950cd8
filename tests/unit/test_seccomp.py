"""The filter's decisions, computed by running its instructions for made-up calls."""

import errno

import pytest

from evocodec.isolation.seccomp import build
from tests.support.bpf_interpreter import decide as interpret

ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
DENIED, MISSING = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
OWN_PID = 77
NUMBERS = {
    "x86_64": {
        "read": 0, "open": 2, "mmap": 9, "ioctl": 16, "shmget": 29, "socket": 41, "clone": 56,
        "fork": 57, "execve": 59, "kill": 62, "fcntl": 72, "unlink": 87, "ptrace": 101,
        "mount": 165, "openat": 257, "unshare": 272, "prlimit64": 302, "memfd_create": 319,
        "bpf": 321, "io_uring_setup": 425, "clone3": 435, "prctl": 157, "tgkill": 234,
        "pipe2": 293, "mkdirat": 258, "unlinkat": 263, "linkat": 265, "symlinkat": 266,
        "mknodat": 259, "fallocate": 285, "fchmodat": 268, "truncate": 76, "renameat2": 316,
        "madvise": 28, "sysinfo": 99, "futex": 202, "fadvise64": 221,
    },
    "aarch64": {
        "read": 63, "mmap": 222, "ioctl": 29, "shmget": 194, "socket": 198, "clone": 220,
        "execve": 221, "kill": 129, "fcntl": 25, "ptrace": 117, "mount": 40,
        "openat": 56, "unshare": 97, "prlimit64": 261, "memfd_create": 279, "bpf": 280,
        "io_uring_setup": 425, "clone3": 435, "prctl": 167, "tgkill": 131, "pipe2": 59,
        "mkdirat": 34, "unlinkat": 35, "linkat": 37, "symlinkat": 36, "mknodat": 33,
        "fallocate": 47, "fchmodat": 53, "truncate": 45, "renameat2": 276,
        "madvise": 233, "sysinfo": 179, "futex": 98, "fadvise64": 223,
    },
}  # fmt: skip


def decide(
    machine: str,
    call: str | int,
    *arguments: int,
    devices: bool = False,
    files: bool = True,
    scratch: bool = False,
    architecture: int | None = None,
) -> int:
    number = call if isinstance(call, int) else NUMBERS[machine][call]
    program = build(machine, own_pid=OWN_PID, devices=devices, files=files, scratch=scratch)
    return interpret(program, machine, number, *arguments, architecture=architecture)


machines = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])


@machines
def test_ordinary_calls_pass(machine: str) -> None:
    assert decide(machine, "read") == ALLOW


@machines
@pytest.mark.parametrize(
    "call",
    ["socket", "execve", "ptrace", "mount", "unshare", "bpf", "memfd_create", "shmget",
     "io_uring_setup"],
)  # fmt: skip
def test_dangerous_calls_are_not_permitted(machine: str, call: str) -> None:
    assert decide(machine, call) == DENIED


@machines
def test_a_call_nobody_thought_of_is_not_permitted(machine: str) -> None:
    assert decide(machine, 9_999) == DENIED


@machines
def test_threads_may_be_made_and_processes_not(machine: str) -> None:
    thread = 0x00010000 | 0x0F00
    assert decide(machine, "clone", thread) == ALLOW
    assert decide(machine, "clone", 17) == DENIED
    assert decide(machine, "clone", thread | 0x10000000) == DENIED
    assert decide(machine, "clone3") == MISSING


@machines
def test_memory_that_limits_do_not_count_is_refused(machine: str) -> None:
    private, shared, anonymous, grows_down = 0x02, 0x01, 0x20, 0x100
    assert decide(machine, "mmap", 0, 0, 0, private | anonymous) == ALLOW
    assert decide(machine, "mmap", 0, 0, 0, shared) == ALLOW
    assert decide(machine, "mmap", 0, 0, 0, shared | anonymous) == DENIED
    assert decide(machine, "mmap", 0, 0, 0, 0x03 | anonymous) == DENIED
    assert decide(machine, "mmap", 0, 0, 0, private | anonymous | grows_down) == DENIED


@machines
def test_files_may_be_opened_for_reading_only(machine: str) -> None:
    assert decide(machine, "openat", 0, 0, 0o2000000) == ALLOW
    for flags in (0o1, 0o2, 0o100, 0o1000, 0o20200000):
        assert decide(machine, "openat", 0, 0, flags) == DENIED
    assert decide(machine, "openat", 0, 0, 0, files=False) == DENIED


@machines
def test_plain_files_may_be_written_only_by_a_job_with_a_scratch(machine: str) -> None:
    for flags in (0o1, 0o102, 0o1001):
        assert decide(machine, "openat", 0, 0, flags, scratch=True) == ALLOW
        assert decide(machine, "openat", 0, 0, flags, scratch=True, files=False) == DENIED
    assert decide(machine, "openat", 0, 0, 0o20200002, scratch=True) == DENIED
    for call in ("mkdirat", "unlinkat", "renameat2"):
        assert decide(machine, call, scratch=True) == ALLOW
        assert decide(machine, call) == DENIED
    for call in ("linkat", "symlinkat", "mknodat", "fallocate", "fchmodat", "truncate"):
        assert decide(machine, call, scratch=True) == DENIED


@machines
def test_pages_are_neither_put_out_nor_merged(machine: str) -> None:
    for advice in (4, 8, 14):
        assert decide(machine, "madvise", 0, 4096, advice) == ALLOW
    for advice in (12, 20, 21, 100, 101):
        assert decide(machine, "madvise", 0, 4096, advice) == DENIED
    assert decide(machine, "fadvise64", 3, 0, 0, 4) == DENIED
    assert decide(machine, "sysinfo") == DENIED


@machines
def test_only_threads_of_the_process_itself_are_woken(machine: str) -> None:
    private, realtime = 128, 256
    for command in (0, 1, 3, 4, 5, 9, 10):
        assert decide(machine, "futex", 0, command | private) == ALLOW
    for waiting in (0, 9, 9 | realtime):
        assert decide(machine, "futex", 0, waiting) == ALLOW
    for waking in (1, 3, 4, 5, 6, 10, 12):
        assert decide(machine, "futex", 0, waking) == DENIED


@machines
def test_devices_may_be_written_and_controlled_but_nothing_created(machine: str) -> None:
    assert decide(machine, "ioctl", 3, 0xC0DE) == DENIED
    assert decide(machine, "ioctl", 3, 0xC0DE, devices=True) == ALLOW
    assert decide(machine, "openat", 0, 0, 0o2, devices=True) == ALLOW
    assert decide(machine, "openat", 0, 0, 0o102, devices=True) == DENIED
    assert decide(machine, "pipe2", devices=True) == ALLOW
    assert decide(machine, "pipe2") == DENIED
    assert decide(machine, "socket", devices=True) == DENIED


@machines
def test_signals_reach_only_the_process_itself_and_only_as_of_a_crash(machine: str) -> None:
    for call, place in (("kill", ()), ("tgkill", (OWN_PID,))):
        for abort in (4, 5, 6, 7, 8, 11):
            assert decide(machine, call, OWN_PID, *place, abort) == ALLOW
            for other in (OWN_PID + 1, 0, -1):
                assert decide(machine, call, other, *place, abort) == DENIED
        for from_outside in (1, 2, 9, 10, 14, 15, 19, 20, 34):
            assert decide(machine, call, OWN_PID, *place, from_outside) == DENIED


@machines
def test_attributes_of_descriptors_and_processes_are_limited(machine: str) -> None:
    assert decide(machine, "fcntl", 3, 1) == ALLOW
    assert decide(machine, "fcntl", 3, 8) == DENIED
    assert decide(machine, "prctl", 15) == ALLOW
    assert decide(machine, "prctl", 1) == DENIED
    assert decide(machine, "prlimit64", 0) == ALLOW
    assert decide(machine, "prlimit64", 1) == DENIED
    assert decide(machine, "prlimit64", OWN_PID, 0, 0) == ALLOW
    assert decide(machine, "prlimit64", 0, 0, 1 << 32) == DENIED
    assert decide(machine, "prlimit64", OWN_PID, 0, 0x7FFF_1000) == DENIED


def test_a_foreign_architecture_kills() -> None:
    assert decide("x86_64", "read", architecture=0x40000003) == KILL
    assert decide("x86_64", 0x40000000) == KILL
    assert decide("aarch64", "read", architecture=0x40000028) == KILL
    assert decide("x86_64", "fork") == DENIED
    assert decide("x86_64", "unlink") == DENIED
