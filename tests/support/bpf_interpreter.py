"""Classic BPF as the kernel runs it, on the words of one made-up system call."""

from collections.abc import Sequence

from evocodec.isolation import bpf


def decide(
    program: Sequence[bpf.Instruction],
    machine: str,
    number: int,
    *arguments: int,
    architecture: int | None = None,
) -> int:
    """Return the filter's answer; linux/bpf_common.h."""
    words = {0: number, 4: architecture or bpf.AUDIT_ARCH[machine]}
    for index in range(6):
        value = arguments[index] if index < len(arguments) else 0
        words[16 + 8 * index] = value & 0xFFFFFFFF
        words[20 + 8 * index] = value >> 32 & 0xFFFFFFFF
    accumulator, at = 0, 0
    while True:
        code, jump_true, jump_false, operand = program[at]
        at += 1
        match code:
            case bpf.LOAD:
                accumulator = words[operand]
            case bpf.AND:
                accumulator &= operand
            case bpf.IF_EQUAL:
                at += jump_true if accumulator == operand else jump_false
            case bpf.IF_AT_LEAST:
                at += jump_true if accumulator >= operand else jump_false
            case bpf.IF_ANY_BIT:
                at += jump_true if accumulator & operand else jump_false
            case bpf.RETURN:
                return operand
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")
