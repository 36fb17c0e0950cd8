"""Landlock: a kernel-enforced list of the files that may be read; no other file opens.

The ruleset is built once, in the fork server, and each job only enters it: adding some 250 paths
takes milliseconds, entering takes microseconds. Interface: linux/landlock.h, ABI 1 to 7.
"""

import ctypes
import os
from collections.abc import Iterable

from evocodec.isolation import linux

# The three calls have the same numbers on every architecture.
_NR_CREATE_RULESET = 444
_NR_ADD_RULE = 445
_NR_RESTRICT_SELF = 446
_CREATE_VERSION = 1
_RULE_PATH_BENEATH = 1

_FS_WRITE_FILE = 1 << 1
_FS_READ_FILE = 1 << 2
_FS_READ_DIR = 1 << 3
_FS_REMOVE_DIR = 1 << 4
_FS_REMOVE_FILE = 1 << 5
_FS_MAKE_DIR = 1 << 7
_FS_MAKE_REGULAR = 1 << 8
_FS_TRUNCATE = 1 << 14
_FS_IOCTL_DEV = 1 << 15
_FS_BITS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
# Neither links nor pipes, sockets, devices, nor running what was written.
_FS_SCRATCH = (
    _FS_WRITE_FILE
    | _FS_READ_FILE
    | _FS_READ_DIR
    | _FS_REMOVE_DIR
    | _FS_REMOVE_FILE
    | _FS_MAKE_DIR
    | _FS_MAKE_REGULAR
    | _FS_TRUNCATE
)
_NET_BIND_AND_CONNECT_TCP = 0b11
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi_version() -> int:
    """The kernel's Landlock ABI; raises OSError if the kernel has no Landlock."""
    return linux.syscall(
        _NR_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_VERSION)
    )


def available() -> bool:
    """Whether this kernel has Landlock, and lets it be used."""
    try:
        return abi_version() > 0
    except OSError:
        return False


class Ruleset:
    """A ruleset that allows reading ``readable`` trees and listing ``listable`` ones.

    ``devices`` are character devices that may also be written and controlled (a GPU's). Plain files
    may be written below ``writable`` only. Paths that do not exist are left out. Raises OSError
    when the kernel has no Landlock.
    """

    def __init__(
        self,
        readable: Iterable[str],
        listable: Iterable[str],
        devices: Iterable[str] = (),
        writable: Iterable[str] = (),
    ) -> None:
        self.abi = abi_version()
        self._handled_fs = (1 << _FS_BITS_BY_ABI.get(self.abi, 16)) - 1
        self.fd = self._create()
        for path in readable:
            self._allow(path, _FS_READ_FILE | _FS_READ_DIR)
        for path in listable:
            self._allow(path, _FS_READ_DIR)
        for path in devices:
            self._allow(path, _FS_READ_FILE | _FS_WRITE_FILE | _FS_IOCTL_DEV)
        for path in writable:
            self._allow(path, _FS_SCRATCH)

    def _create(self) -> int:
        attributes = _RulesetAttributes(
            self._handled_fs,
            _NET_BIND_AND_CONNECT_TCP if self.abi >= 4 else 0,
            _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if self.abi >= 6 else 0,
        )
        fields_known = 8 if self.abi < 4 else 16 if self.abi < 6 else 24
        return linux.syscall(
            _NR_CREATE_RULESET,
            ctypes.byref(attributes),
            ctypes.c_size_t(fields_known),
            ctypes.c_uint32(0),
        )

    def _allow(self, path: str, access: int) -> None:
        try:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if not os.path.isdir(path):
                access &= ~_FS_READ_DIR
            rule = _PathBeneath(access & self._handled_fs, parent)
            linux.syscall(
                _NR_ADD_RULE,
                ctypes.c_int(self.fd),
                ctypes.c_int(_RULE_PATH_BENEATH),
                ctypes.byref(rule),
                ctypes.c_uint32(0),
            )
        finally:
            os.close(parent)


def enter(ruleset_fd: int) -> None:
    """Confine this process for good; needs no_new_privs. Raises OSError."""
    linux.syscall(_NR_RESTRICT_SELF, ctypes.c_int(ruleset_fd), ctypes.c_uint32(0))
