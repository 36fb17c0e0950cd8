"""The path lock's decisions, and that no call which takes a path is left to a program."""

import errno

import pytest

from evocodec.isolation import bpf, path_lock, seccomp, syscalls
from tests.support.bpf_interpreter import decide

REFUSED = bpf.answer_errno(errno.EPERM)[3]
ALLOWED = bpf.ALLOW[3]
MACHINES = ("x86_64", "aarch64")
EVERY_CALL = {
    name: numbers
    for table in (
        *(syscalls.ALLOWED, syscalls.CONDITIONAL, syscalls.FOR_SCRATCH, syscalls.FOR_DEVICES),
        *(syscalls.PRETENDED_MISSING, syscalls.INSTALLS_FILTERS),
    )
    for name, numbers in table.items()
}
# What a locked program may still call; none of these takes a path, as section 2 of the manual says.
WITHOUT_PATH = {
    *("read", "write", "close", "fstat", "poll", "lseek", "mprotect", "munmap", "brk", "mmap"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "sigaltstack", "kill"),
    *("pread64", "readv", "writev", "preadv", "pwrite64", "select", "pselect6", "ppoll", "fcntl"),
    *("sched_yield", "mremap", "madvise", "dup", "dup2", "dup3", "nanosleep", "clock_nanosleep"),
    *("getpid", "getppid", "gettid", "getuid", "getgid", "geteuid", "getegid", "uname", "getcwd"),
    *("gettimeofday", "time", "times", "clock_gettime", "clock_getres", "getrusage", "getrlimit"),
    *("prlimit64", "sched_getparam", "sched_getscheduler", "sched_get_priority_max", "getcpu"),
    *("sched_get_priority_min", "sched_getaffinity", "arch_prctl", "prctl", "set_tid_address"),
    *("restart_syscall", "exit", "exit_group", "set_robust_list", "getrandom", "membarrier"),
    *("rseq", "close_range", "futex_waitv", "futex", "ioctl", "clone", "clone3", "tgkill"),
    *("epoll_wait", "epoll_ctl", "epoll_pwait", "epoll_create1", "eventfd2", "pipe2", "mbind"),
    *("get_mempolicy", "fsync", "fdatasync", "ftruncate"),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_what_a_locked_program_may_call_takes_no_path(machine: str) -> None:
    program = path_lock.build(machine)
    column = bpf.COLUMN[machine]
    left = {
        name
        for name, numbers in EVERY_CALL.items()
        if numbers[column] >= 0 and decide(program, machine, numbers[column]) == ALLOWED
    }
    assert left <= WITHOUT_PATH
    assert {"read", "writev", "mmap", "futex", "fstat"} <= left


@pytest.mark.parametrize("machine", MACHINES)
def test_before_it_only_the_lock_itself_may_be_installed_and_after_it_nothing(
    machine: str,
) -> None:
    number = syscalls.INSTALLS_FILTERS["seccomp"][bpf.COLUMN[machine]]
    before = seccomp.build(machine, own_pid=7, devices=False, files=True)
    assert decide(before, machine, number, 1, 1) == ALLOWED
    for operation, flags in ((1, 0), (1, 8), (1, 9), (0, 1), (2, 1), (3, 1)):
        assert decide(before, machine, number, operation, flags) == REFUSED
    assert decide(path_lock.build(machine), machine, number, 1, 1) == REFUSED


def test_calls_by_a_foreign_table_kill() -> None:
    assert decide(path_lock.build("x86_64"), "aarch64", 0) == bpf.KILL[3]
