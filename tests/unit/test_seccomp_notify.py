"""The filter that hands calls with paths to the broker, run as the kernel would."""

import errno

import pytest

from evocodec.isolation import bpf
from evocodec.isolation.seccomp_notify import build
from evocodec.isolation.syscalls import ALLOWED, BROKERED, CONDITIONAL, WITHOUT_BROKER

ALLOW, NOTIFY = bpf.ALLOW[3], bpf.NOTIFY[3]
REFUSED, MISSING = bpf.answer_errno(errno.EPERM)[3], bpf.answer_errno(errno.ENOSYS)[3]
machines = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])


def decide(
    machine: str, call: str, second: int = 0, *, devices: bool = False, arch: int = -1
) -> int:
    number = (ALLOWED | CONDITIONAL)[call][bpf.COLUMN[machine]]
    words = {
        bpf.OFFSET_NUMBER: number,
        bpf.OFFSET_ARCH: bpf.AUDIT_ARCH[machine] if arch < 0 else arch,
        bpf.OFFSET_ARGUMENTS + 8: second,
    }
    program = build(machine, devices=devices)
    accumulator, at = 0, 0
    while True:
        code, jump_true, jump_false, operand = program[at]
        if code == bpf.RETURN:
            return operand
        at += 1
        if code == bpf.LOAD:
            accumulator = words[operand]
        else:
            assert code == bpf.IF_EQUAL
            at += jump_true if accumulator == operand else jump_false


@machines
def test_every_allowed_call_that_takes_a_path_is_answered_by_the_broker(machine: str) -> None:
    column = bpf.COLUMN[machine]
    paths = {"open", "stat", "access", "readlink", "statx"}
    for name in ALLOWED | CONDITIONAL:
        takes_a_path = any(word in name for word in paths)
        if takes_a_path and (ALLOWED | CONDITIONAL)[name][column] >= 0:
            expected = MISSING if name in WITHOUT_BROKER else NOTIFY
            assert decide(machine, name) == expected, name
            assert name in (*BROKERED, *WITHOUT_BROKER)


@machines
def test_other_calls_are_left_to_the_list_of_allowed_ones(machine: str) -> None:
    for name in ("read", "mmap", "close", "getdents64", "futex", "getcwd"):
        assert decide(machine, name) == ALLOW
    assert decide(machine, "openat", arch=0x40000003) == ALLOW


@machines
def test_descriptors_are_copied_only_where_a_driver_may_need_it(machine: str) -> None:
    assert decide(machine, "dup") == REFUSED
    assert decide(machine, "dup3") == REFUSED
    assert decide(machine, "fcntl", 0) == REFUSED
    assert decide(machine, "fcntl", 1030) == REFUSED
    assert decide(machine, "fcntl", 3) == ALLOW
    assert decide(machine, "dup", devices=True) == ALLOW
    assert decide(machine, "fcntl", 0, devices=True) == ALLOW
