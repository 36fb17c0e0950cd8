"""Seccomp user notification: a call that takes a path waits until the path broker answers it.

A filter beside the one of ``seccomp.py``, which decides first: what that refuses never gets here.
Interface: seccomp_unotify(2), linux/seccomp.h; Linux 5.14 for answering with a descriptor at once.
"""

import ctypes
import errno
import fcntl
import functools
import os
import platform
import struct
from dataclasses import dataclass

from evocodec.isolation import bpf, linux
from evocodec.isolation.syscalls import ALLOWED, BROKERED, CONDITIONAL, WITHOUT_BROKER

_NR_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _GET_NOTIFICATION_SIZES = 1, 3
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5  # the second: Linux 5.19

_NOTICE = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_ADD = struct.Struct("=QIIII")
_RECEIVE, _SEND, _ADD_DESCRIPTOR, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40182103, 0x40082104
_ADD_AND_SEND = 1 << 1
_WAKE_ON_SAME_CPU = 1  # Linux 6.6; passed by value
_SIZES = struct.pack("=3H", _NOTICE.size, _ANSWER.size, 64)


@dataclass(frozen=True, slots=True)
class Notice:
    """One call that waits: its number and its six arguments as the kernel was given them."""

    identity: int
    number: int
    arguments: tuple[int, ...]


def why_not() -> str:
    """Why this machine cannot do it, or nothing."""
    machine = platform.machine()
    if machine not in _NR_SECCOMP:
        return f"the number of seccomp on {machine} is not known"
    sizes = ctypes.create_string_buffer(6)
    try:
        _seccomp(_GET_NOTIFICATION_SIZES, 0, sizes)
    except OSError as error:
        return f"no seccomp user notification: {error}"
    return "" if sizes.raw == _SIZES else "seccomp notifications of another size"


def install(*, devices: bool) -> int:
    """Have this process's calls that take paths answered by whoever reads the returned descriptor.

    Needs no_new_privs. Raises OSError: EBUSY when a listener stands above this process already.
    """
    header = ctypes.byref(prepare(devices=devices).header)
    try:
        return _seccomp(_SET_MODE_FILTER, _NEW_LISTENER | _WAIT_KILLABLE, header)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return _seccomp(_SET_MODE_FILTER, _NEW_LISTENER, header)


@functools.cache
def prepare(*, devices: bool) -> bpf.Packed:
    """The filter as the kernel takes it: made once, before the forks that install it."""
    return bpf.Packed(build(platform.machine(), devices=devices))


def build(machine: str, *, devices: bool) -> list[bpf.Instruction]:
    """The filter; what it does not name, foreign calls included, is left to the other one.

    Descriptors may not be copied, so that the broker knows what each number stands for. A GPU's
    driver library may need to.
    """
    column, numbers = bpf.COLUMN[machine], ALLOWED | CONDITIONAL
    program: list[bpf.Instruction] = [
        (bpf.LOAD, 0, 0, bpf.OFFSET_ARCH),
        (bpf.IF_EQUAL, 1, 0, bpf.AUDIT_ARCH[machine]),
        bpf.ALLOW,
        (bpf.LOAD, 0, 0, bpf.OFFSET_NUMBER),
    ]
    for name in BROKERED:
        program += bpf.when_number(numbers[name][column], [bpf.NOTIFY])
    for name in WITHOUT_BROKER:
        program += bpf.when_number(numbers[name][column], [bpf.answer_errno(errno.ENOSYS)])
    if not devices:
        refused = bpf.answer_errno(errno.EPERM)
        for name in ("dup", "dup2", "dup3"):
            program += bpf.when_number(numbers[name][column], [refused])
        block = [bpf.load_argument(1)]
        for command in (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC):
            block += [(bpf.IF_EQUAL, 0, 1, command), refused]
        program += bpf.when_number(numbers["fcntl"][column], [*block, bpf.ALLOW])
    return [*program, bpf.ALLOW]


def prefer_this_cpu(listener: int) -> None:
    """Ask for quicker changes between the two processes; raises OSError before Linux 6.6."""
    fcntl.ioctl(listener, _SET_FLAGS, _WAKE_ON_SAME_CPU)


def receive(listener: int) -> Notice | None:
    """The next waiting call; None when its caller has died meanwhile."""
    buffer = bytearray(_NOTICE.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    identity, _pid, _flags, number, _arch, _pointer, *arguments = _NOTICE.unpack(buffer)
    return Notice(identity, number, tuple(arguments))


def answer(listener: int, notice: Notice, value: int) -> None:
    """Let the call return ``value``, or fail with ``-value``; a caller that died needs nothing."""
    words = (value, 0) if value >= 0 else (0, value)
    try:
        fcntl.ioctl(listener, _SEND, _ANSWER.pack(notice.identity, *words, 0))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINPROGRESS):
            raise


def hand_over(listener: int, notice: Notice, fd: int, *, close_on_exec: bool) -> int:
    """Let the call return a copy of ``fd`` in the caller; its number there. Raises OSError."""
    flags = os.O_CLOEXEC if close_on_exec else 0
    request = bytearray(_ADD.pack(notice.identity, _ADD_AND_SEND, fd, 0, flags))
    number: int = fcntl.ioctl(listener, _ADD_DESCRIPTOR, request)
    return number


def _seccomp(operation: int, flags: int, argument: object) -> int:
    return linux.syscall(
        _NR_SECCOMP[platform.machine()], ctypes.c_uint(operation), ctypes.c_uint(flags), argument
    )
