"""Seccomp filter: allows the calls of ``syscalls.py`` and answers EPERM to all others.

EPERM rather than death, because Python turns it into a PermissionError that a coder can read.
A call of a foreign architecture (the 32-bit tables) kills: only an attack makes one.
Interface: linux/seccomp.h, linux/filter.h.
"""

import ctypes
import errno
import os
import platform
from collections.abc import Iterable

from evocodec.isolation import bpf, linux, path_lock
from evocodec.isolation.bpf import (
    ALLOW,
    AND,
    AUDIT_ARCH,
    COLUMN,
    IF_ANY_BIT,
    IF_AT_LEAST,
    IF_EQUAL,
    KILL,
    LOAD,
    OFFSET_ARCH,
    OFFSET_ARGUMENTS,
    OFFSET_NUMBER,
    Instruction,
    answer_errno,
    load_argument,
    when_number,
)
from evocodec.isolation.syscalls import (
    ALLOWED,
    CONDITIONAL,
    FOR_DEVICES,
    FOR_SCRATCH,
    INSTALLS_FILTERS,
    PRETENDED_MISSING,
)

_X32_BIT = 0x40000000
_MODE_FILTER = 2

_CLONE_THREAD = 0x00010000
_CLONE_NEW_ANYTHING = 0x7E020080
_MAP_SHARED = 0x01
_MAP_ANONYMOUS = 0x20
_MAP_GROWSDOWN = 0x0100
_OPEN_WRITE_ONLY, _OPEN_READ_WRITE = 0o1, 0o2
_OPEN_NAMELESS = 0o20000000  # O_TMPFILE
_OPEN_MAKES_OR_CHANGES = 0o100 | 0o1000 | _OPEN_NAMELESS  # O_CREAT, O_TRUNC
_PRCTL_NAMES = (15, 16, 0x53564D41)  # set and get a thread's name, name a mapping
_FCNTL_DESCRIPTORS = (0, 1, 2, 3, 4, 1030)  # duplicate, get and set flags; no signals, no locks
_IOCTL_HARMLESS = (0x5401, 0x5413, 0x5421, 0x541B, 0x5450, 0x5451)  # isatty, sizes, close-on-exec
# Nothing that puts pages out of memory or merges equal ones: others could tell.
_MADVISE_OWN = (0, 1, 2, 3, 4, 8, 10, 11, 14, 15, 16, 17, 18, 19, 22, 23)
# None (to ask), SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV; 32, 33: the C library's own.
_OWN_SIGNALS = (0, 4, 5, 6, 7, 8, 11, 32, 33)
_FUTEX_PRIVATE = 128
_FUTEX_COMMAND = 0x7F
_FUTEX_WAITS = (0, 9)

_DENY = answer_errno(errno.EPERM)
_MISSING = answer_errno(errno.ENOSYS)


def supported() -> bool:
    """Whether there is a system call table for this architecture."""
    return platform.machine() in COLUMN


class Filter:
    """The seccomp filter of this process, in the kernel's layout.

    ``devices`` lets a GPU be opened for writing and controlled by ioctl. Without ``files``, nothing
    can be opened at all: this replaces Landlock where it is missing. With ``scratch``, files may be
    opened for writing, created, renamed and removed; Landlock limits where.
    """

    def __init__(self, *, devices: bool, files: bool, scratch: bool = False) -> None:
        self.files = files
        kinds = {"devices": devices, "files": files, "scratch": scratch}
        self._packed = bpf.Packed(build(platform.machine(), own_pid=os.getpid(), **kinds))

    def install(self) -> None:
        """Filter this process for good; needs no_new_privs. Raises OSError."""
        linux.prctl(linux.PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(self._packed.header))


def build(
    machine: str, *, own_pid: int, devices: bool, files: bool, scratch: bool = False
) -> list[Instruction]:
    """Return the filter as BPF instructions, for ``x86_64`` or ``aarch64``."""
    column = COLUMN[machine]
    program: list[Instruction] = [
        (LOAD, 0, 0, OFFSET_ARCH),
        (IF_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        KILL,
        (LOAD, 0, 0, OFFSET_NUMBER),
    ]
    if machine == "x86_64":
        program += [(IF_AT_LEAST, 0, 1, _X32_BIT), KILL]
    extra = (FOR_DEVICES if devices else {}) | (FOR_SCRATCH if scratch else {})
    for numbers in (ALLOWED | extra).values():
        program += when_number(numbers[column], [ALLOW])
    for numbers in PRETENDED_MISSING.values():
        program += when_number(numbers[column], [_MISSING])
    for name, block in _conditions(own_pid, devices, files, scratch).items():
        program += when_number(CONDITIONAL[name][column], block)
    program += when_number(INSTALLS_FILTERS["seccomp"][column], _path_lock())
    return [*program, _DENY]


def _conditions(
    own_pid: int, devices: bool, files: bool, scratch: bool
) -> dict[str, list[Instruction]]:
    forbidden_open = _OPEN_NAMELESS if scratch else _OPEN_MAKES_OR_CHANGES
    if not (devices or scratch):
        forbidden_open |= _OPEN_WRITE_ONLY | _OPEN_READ_WRITE
    return {
        "open": _unless_any_bit(1, forbidden_open) if files else [_DENY],
        "openat": _unless_any_bit(2, forbidden_open) if files else [_DENY],
        "mmap": [ALLOW] if devices else _mmap(),
        "ioctl": [ALLOW] if devices else _if_argument_in(1, _IOCTL_HARMLESS),
        "madvise": [ALLOW] if devices else _if_argument_in(2, _MADVISE_OWN),
        "futex": [ALLOW] if devices else _futex(),
        "clone": [
            load_argument(0),
            (IF_ANY_BIT, 2, 0, _CLONE_NEW_ANYTHING),
            (IF_ANY_BIT, 0, 1, _CLONE_THREAD),
            ALLOW,
            _DENY,
        ],
        "kill": _own_signals(own_pid, signal_index=1),
        "tgkill": _own_signals(own_pid, signal_index=2),
        "fcntl": _if_argument_in(1, _FCNTL_DESCRIPTORS),
        "prctl": _if_argument_in(0, _PRCTL_NAMES),
        "prlimit64": _own_limits_unchanged(own_pid),
    }


def _path_lock() -> list[Instruction]:
    """Allow the path lock, which then refuses this call too; no program has run until then."""
    return [
        load_argument(0),
        (IF_EQUAL, 0, 3, path_lock.SET_MODE_FILTER),
        load_argument(1),
        (IF_EQUAL, 0, 1, path_lock.FOR_ALL_THREADS),
        ALLOW,
        _DENY,
    ]


def _unless_any_bit(index: int, bits: int) -> list[Instruction]:
    return [load_argument(index), (IF_ANY_BIT, 0, 1, bits), _DENY, ALLOW]


def _if_argument_in(index: int, values: Iterable[int]) -> list[Instruction]:
    block = [load_argument(index)]
    for value in values:
        block += [(IF_EQUAL, 0, 1, value), ALLOW]
    return [*block, _DENY]


def _own_signals(own_pid: int, *, signal_index: int) -> list[Instruction]:
    """Let a process signal itself only as a crash does: any other signal comes from outside.

    It could neither stop itself and so its clock, nor pose as killed by somebody else.
    """
    send = _if_argument_in(signal_index, _OWN_SIGNALS)
    return [load_argument(0), (IF_EQUAL, 1, 0, own_pid), _DENY, *send]


def _own_limits_unchanged(own_pid: int) -> list[Instruction]:
    """Let a process read its limits, not lower them: it could fake a kill by one of our limits."""
    new_limit = OFFSET_ARGUMENTS + 8 * 2
    return [
        load_argument(0),
        (IF_EQUAL, 2, 0, 0),
        (IF_EQUAL, 1, 0, own_pid),
        _DENY,
        (LOAD, 0, 0, new_limit),
        (IF_EQUAL, 0, 3, 0),
        (LOAD, 0, 0, new_limit + 4),
        (IF_EQUAL, 0, 1, 0),
        ALLOW,
        _DENY,
    ]


def _futex() -> list[Instruction]:
    """Allow waking threads of this process only: library pages are shared with other sandboxes.

    Waiting stays allowed, because the C library waits for the end of a thread.
    """
    block = [
        load_argument(1),
        (IF_ANY_BIT, 0, 1, _FUTEX_PRIVATE),
        ALLOW,
        (AND, 0, 0, _FUTEX_COMMAND),
    ]
    for command in _FUTEX_WAITS:
        block += [(IF_EQUAL, 0, 1, command), ALLOW]
    return [*block, _DENY]


def _mmap() -> list[Instruction]:
    """Refuse memory that RLIMIT_DATA does not count: shared anonymous, and growing stacks."""
    shared_anonymous = _MAP_SHARED | _MAP_ANONYMOUS
    return [
        load_argument(3),
        (IF_ANY_BIT, 2, 0, _MAP_GROWSDOWN),
        (AND, 0, 0, shared_anonymous),
        (IF_EQUAL, 0, 1, shared_anonymous),
        _DENY,
        ALLOW,
    ]
