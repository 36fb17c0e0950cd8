"""The path lock: a second seccomp filter, after which a job makes no system call that takes a path.

A path that is looked up leaves a trace in the kernel that other processes can time: an entry of the
name, also where there is no such file. So a job loads its libraries first, and then locks itself.
The filter stands beside the one of ``seccomp.py``; the stricter of two answers counts.
Interface: seccomp(2), SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_TSYNC; Linux 3.17.
"""

import ctypes
import errno
import functools
import platform

from evocodec.isolation import bpf, linux
from evocodec.isolation.syscalls import (
    ALLOWED,
    CONDITIONAL,
    FOR_SCRATCH,
    INSTALLS_FILTERS,
    PRETENDED_MISSING,
    TAKES_PATH,
)

SET_MODE_FILTER = 1
FOR_ALL_THREADS = 1  # SECCOMP_FILTER_FLAG_TSYNC


def build(machine: str) -> list[bpf.Instruction]:
    """Return the filter as BPF instructions; calls that it does not name are left to the other.

    It also refuses to install filters: with one of its own, a program could answer for the kernel.
    """
    column = bpf.COLUMN[machine]
    numbers = ALLOWED | CONDITIONAL | FOR_SCRATCH | PRETENDED_MISSING | INSTALLS_FILTERS
    refused = bpf.answer_errno(errno.EPERM)
    program: list[bpf.Instruction] = [
        (bpf.LOAD, 0, 0, bpf.OFFSET_ARCH),
        (bpf.IF_EQUAL, 1, 0, bpf.AUDIT_ARCH[machine]),
        bpf.KILL,
        (bpf.LOAD, 0, 0, bpf.OFFSET_NUMBER),
    ]
    for name in (*TAKES_PATH, *INSTALLS_FILTERS):
        program += bpf.when_number(numbers[name][column], [refused])
    return [*program, bpf.ALLOW]


@functools.cache
def prepare() -> bpf.Packed:
    """Return the filter in the kernel's format; made once, before the forks that install it."""
    return bpf.Packed(build(platform.machine()))


class PathLock:
    """The lock of this process; ``close`` works once."""

    def __init__(self) -> None:
        self._number = INSTALLS_FILTERS["seccomp"][bpf.COLUMN[platform.machine()]]
        self._packed = prepare()

    def close(self) -> None:
        """Lock every thread of this process for good; raises OSError.

        Threads that libraries have started are locked too: one that is not could be made to look
        paths up for the others.
        """
        operation, flags = ctypes.c_uint(SET_MODE_FILTER), ctypes.c_uint(FOR_ALL_THREADS)
        other_thread = linux.syscall(
            self._number, operation, flags, ctypes.byref(self._packed.header)
        )
        if other_thread:
            raise OSError(errno.EBUSY, f"thread {other_thread} has another filter")
