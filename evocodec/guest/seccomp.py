"""A seccomp filter that allows the calls of ``syscalls.py`` and answers EPERM to all others.

EPERM rather than death, because Python turns it into a PermissionError that a coder can read.
A call of a foreign architecture (the 32-bit tables) kills: only an attack makes one.
Interface: linux/seccomp.h, linux/filter.h.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Sequence

from evocodec.guest import linux
from evocodec.guest.syscalls import (
    ALLOWED,
    CONDITIONAL,
    FOR_DEVICES,
    FOR_SCRATCH,
    PRETENDED_MISSING,
)

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN = {"x86_64": 0, "aarch64": 1}
_X32_BIT = 0x40000000

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST = 0x35
_IF_ANY_BIT = 0x45
_RETURN = 0x06

_RET_ALLOW = 0x7FFF0000
_RET_KILL_PROCESS = 0x80000000
_RET_ERRNO = 0x00050000
_MODE_FILTER = 2

_OFFSET_NUMBER = 0
_OFFSET_ARCH = 4
_OFFSET_ARGUMENTS = 16  # six 64-bit values, low word first on both architectures

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

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand
_ALLOW: Instruction = (_RETURN, 0, 0, _RET_ALLOW)
_DENY: Instruction = (_RETURN, 0, 0, _RET_ERRNO | errno.EPERM)
_MISSING: Instruction = (_RETURN, 0, 0, _RET_ERRNO | errno.ENOSYS)
_KILL: Instruction = (_RETURN, 0, 0, _RET_KILL_PROCESS)


def supported() -> bool:
    """Whether this machine's architecture has a table."""
    return platform.machine() in _COLUMN


def install(*, devices: bool, files: bool, scratch: bool = False) -> None:
    """Filter this process for good; needs no_new_privs. Raises OSError.

    ``devices`` lets a GPU be opened for writing and controlled by ioctl. Without ``files`` nothing
    can be opened at all: the stand-in where Landlock is missing. With ``scratch``, files may be
    opened for writing, made, renamed and removed: Landlock says where.
    """
    program = build(
        platform.machine(), own_pid=os.getpid(), devices=devices, files=files, scratch=scratch
    )
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(packed, len(packed))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    header = Program(len(program), ctypes.addressof(buffer))
    linux.prctl(linux.PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(header))


def build(
    machine: str, *, own_pid: int, devices: bool, files: bool, scratch: bool = False
) -> list[Instruction]:
    """The filter as BPF instructions for ``x86_64`` or ``aarch64``."""
    column = _COLUMN[machine]
    program: list[Instruction] = [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_IF_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        _KILL,
        (_LOAD, 0, 0, _OFFSET_NUMBER),
    ]
    if machine == "x86_64":
        program += [(_IF_AT_LEAST, 0, 1, _X32_BIT), _KILL]
    extra = (FOR_DEVICES if devices else {}) | (FOR_SCRATCH if scratch else {})
    for numbers in (ALLOWED | extra).values():
        program += _when_number(numbers[column], [_ALLOW])
    for numbers in PRETENDED_MISSING.values():
        program += _when_number(numbers[column], [_MISSING])
    for name, block in _conditions(own_pid, devices, files, scratch).items():
        program += _when_number(CONDITIONAL[name][column], block)
    return [*program, _DENY]


def _when_number(number: int, block: Sequence[Instruction]) -> list[Instruction]:
    return [] if number < 0 else [(_IF_EQUAL, 0, len(block), number), *block]


def _conditions(
    own_pid: int, devices: bool, files: bool, scratch: bool
) -> dict[str, list[Instruction]]:
    forbidden_open = _OPEN_NAMELESS if scratch else _OPEN_MAKES_OR_CHANGES
    if not (devices or scratch):
        forbidden_open |= _OPEN_WRITE_ONLY | _OPEN_READ_WRITE
    return {
        "open": _unless_any_bit(1, forbidden_open) if files else [_DENY],
        "openat": _unless_any_bit(2, forbidden_open) if files else [_DENY],
        "mmap": [_ALLOW] if devices else _mmap(),
        "ioctl": [_ALLOW] if devices else _if_argument_in(1, _IOCTL_HARMLESS),
        "clone": [
            _load_argument(0),
            (_IF_ANY_BIT, 2, 0, _CLONE_NEW_ANYTHING),
            (_IF_ANY_BIT, 0, 1, _CLONE_THREAD),
            _ALLOW,
            _DENY,
        ],
        "kill": _if_argument_in(0, (own_pid,)),
        "tgkill": _if_argument_in(0, (own_pid,)),
        "fcntl": _if_argument_in(1, _FCNTL_DESCRIPTORS),
        "prctl": _if_argument_in(0, _PRCTL_NAMES),
        "prlimit64": _own_limits_unchanged(own_pid),
    }


def _load_argument(index: int) -> Instruction:
    return (_LOAD, 0, 0, _OFFSET_ARGUMENTS + 8 * index)


def _unless_any_bit(index: int, bits: int) -> list[Instruction]:
    return [_load_argument(index), (_IF_ANY_BIT, 0, 1, bits), _DENY, _ALLOW]


def _if_argument_in(index: int, values: Iterable[int]) -> list[Instruction]:
    block = [_load_argument(index)]
    for value in values:
        block += [(_IF_EQUAL, 0, 1, value), _ALLOW]
    return [*block, _DENY]


def _own_limits_unchanged(own_pid: int) -> list[Instruction]:
    """Limits may be read, not lowered: a kill by a limit of its own making would look like ours."""
    new_limit = _OFFSET_ARGUMENTS + 8 * 2
    return [
        _load_argument(0),
        (_IF_EQUAL, 2, 0, 0),
        (_IF_EQUAL, 1, 0, own_pid),
        _DENY,
        (_LOAD, 0, 0, new_limit),
        (_IF_EQUAL, 0, 3, 0),
        (_LOAD, 0, 0, new_limit + 4),
        (_IF_EQUAL, 0, 1, 0),
        _ALLOW,
        _DENY,
    ]


def _mmap() -> list[Instruction]:
    """Refuse memory that RLIMIT_DATA does not count: shared anonymous, and growing stacks."""
    shared_anonymous = _MAP_SHARED | _MAP_ANONYMOUS
    return [
        _load_argument(3),
        (_IF_ANY_BIT, 2, 0, _MAP_GROWSDOWN),
        (_AND, 0, 0, shared_anonymous),
        (_IF_EQUAL, 0, 1, shared_anonymous),
        _DENY,
        _ALLOW,
    ]
