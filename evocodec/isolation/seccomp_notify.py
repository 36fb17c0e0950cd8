"""Seccomp user notification: a call that takes a path waits until the path broker answers it.

This filter stands beside the one of ``seccomp.py``, which decides first: refused calls do not get
here. Interface: seccomp_unotify(2), linux/seccomp.h; Linux 5.14, to answer with a descriptor.
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
from evocodec.isolation.syscalls import (
    ALLOWED,
    BROKERED,
    CONDITIONAL,
    COUNTED,
    WITHOUT_BROKER,
)

_NR_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _GET_NOTIFICATION_SIZES = 1, 3
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5  # the second: Linux 5.19

_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_ADD = struct.Struct("=QIIII")
_RECEIVE, _SEND, _ADD_DESCRIPTOR, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40182103, 0x40082104
_ADD_AND_SEND = 1 << 1
_CONTINUE = 1 << 0
_WAKE_ON_SAME_CPU = 1  # Linux 6.6; passed by value
_SIZES = struct.pack("=3H", _NOTIFICATION.size, _ANSWER.size, 64)


@dataclass(frozen=True, slots=True)
class Notification:
    """One waiting call: its thread, its number, its six arguments as the kernel received them."""

    identity: int
    thread: int
    number: int
    arguments: tuple[int, ...]


def why_unavailable() -> str:
    """Return why this machine has no user notification; empty when it has."""
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
    """Install the filter; the returned descriptor receives the path calls of this process.

    Needs no_new_privs. Raises OSError; EBUSY when this process already has a listener.
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
    """Return the filter in the kernel's format; made once, before the forks that install it."""
    return bpf.Packed(build(platform.machine(), devices=devices))


def build(machine: str, *, devices: bool) -> list[bpf.Instruction]:
    """Return the filter; calls that it does not name are left to the other filter.

    Descriptors may not be copied, so that the broker knows what each number stands for; except with
    ``devices``, because a GPU's driver library may need to.
    """
    column, numbers = bpf.COLUMN[machine], ALLOWED | CONDITIONAL
    program: list[bpf.Instruction] = [
        (bpf.LOAD, 0, 0, bpf.OFFSET_ARCH),
        (bpf.IF_EQUAL, 1, 0, bpf.AUDIT_ARCH[machine]),
        bpf.ALLOW,
        (bpf.LOAD, 0, 0, bpf.OFFSET_NUMBER),
    ]
    for name in (*BROKERED, *COUNTED):
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


def prefer_same_cpu(listener: int) -> None:
    """Ask for quick switches between job and broker on one CPU; OSError before Linux 6.6."""
    fcntl.ioctl(listener, _SET_FLAGS, _WAKE_ON_SAME_CPU)


def receive(listener: int) -> Notification | None:
    """Return the next waiting call; None when its caller has died meanwhile."""
    buffer = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    identity, thread, _flags, number, _arch, _pointer, *arguments = _NOTIFICATION.unpack(buffer)
    return Notification(identity, thread, number, tuple(arguments))


def answer(listener: int, notification: Notification, value: int) -> None:
    """Let the call return ``value``, or fail with ``-value``; a caller that has died is ignored."""
    fields = (value, 0) if value >= 0 else (0, value)
    _send(listener, _ANSWER.pack(notification.identity, *fields, 0))


def let_continue(listener: int, notification: Notification) -> None:
    """Let the kernel perform the call; only for one whose arguments are all in registers."""
    _send(listener, _ANSWER.pack(notification.identity, 0, 0, _CONTINUE))


def _send(listener: int, packed: bytes) -> None:
    try:
        fcntl.ioctl(listener, _SEND, packed)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINPROGRESS):
            raise


def answer_with_descriptor(
    listener: int, notification: Notification, fd: int, *, close_on_exec: bool
) -> int:
    """Let the call return a copy of ``fd``; returns its number in the caller. Raises OSError."""
    flags = os.O_CLOEXEC if close_on_exec else 0
    request = bytearray(_ADD.pack(notification.identity, _ADD_AND_SEND, fd, 0, flags))
    number: int = fcntl.ioctl(listener, _ADD_DESCRIPTOR, request)
    return number


def _seccomp(operation: int, flags: int, argument: object) -> int:
    return linux.syscall(
        _NR_SECCOMP[platform.machine()], ctypes.c_uint(operation), ctypes.c_uint(flags), argument
    )
