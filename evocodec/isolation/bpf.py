"""Classic BPF programs as seccomp reads them. Interface: linux/filter.h, linux/seccomp.h."""

import ctypes
import struct
from collections.abc import Sequence

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
IF_AT_LEAST = 0x35
IF_ANY_BIT = 0x45
RETURN = 0x06

OFFSET_NUMBER = 0
OFFSET_ARCH = 4
OFFSET_ARGUMENTS = 16  # six 64-bit values, low word first on both architectures

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COLUMN = {"x86_64": 0, "aarch64": 1}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Packed:
    """A program in the layout that the kernel reads; ``header`` is valid while this exists."""

    def __init__(self, program: Sequence[Instruction]) -> None:
        code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
        self._code = ctypes.create_string_buffer(code, len(code))
        self.header = _Program(len(program), ctypes.addressof(self._code))


def when_number(number: int, block: Sequence[Instruction]) -> list[Instruction]:
    """Run ``block``, which ends in a return, for this system call; nothing if it is negative."""
    return [] if number < 0 else [(IF_EQUAL, 0, len(block), number), *block]


def load_argument(index: int) -> Instruction:
    """Load the low 32 bits of an argument."""
    return (LOAD, 0, 0, OFFSET_ARGUMENTS + 8 * index)


def answer_errno(number: int) -> Instruction:
    """Let the call fail with this error number."""
    return (RETURN, 0, 0, 0x00050000 | number)


ALLOW: Instruction = (RETURN, 0, 0, 0x7FFF0000)
KILL: Instruction = (RETURN, 0, 0, 0x80000000)
NOTIFY: Instruction = (RETURN, 0, 0, 0x7FC00000)
