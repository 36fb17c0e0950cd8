"""Virtual file system: the files that a job without an own root folder can find.

It has the content of the root folder of ``mounts.py``: trees that may be read; their parent
folders, which cannot be listed; and the links that lead to them. Paths are resolved here, part by
part. The kernel is asked only about paths inside a tree, so a path outside has no effect, not even
on timing.
Interface: openat2(2), Linux 5.6.
"""

import ctypes
import errno
import os
import platform
import stat
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

_NR_OPENAT2 = 437
_NR_FSTAT = {"x86_64": 5, "aarch64": 80}
_AT_FDCWD = -100
_NO_LINKS = 0x04 | 0x02  # RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS
_MAX_LINKS = 40

# struct stat, as the kernel writes it; the times stand at the same place on both.
_STAT = {
    "x86_64": struct.Struct("=QQQIIIIQqqq6q24x"),
    "aarch64": struct.Struct("=QQIIIIQQqi4xq6q8x"),
}
_MODE_AT = {"x86_64": 24, "aarch64": 16}
_ACCESS_TIME = slice(72, 88)
_CHANGE_OF_CONTENT_TIME = slice(88, 104)
_MACHINE = platform.machine()
_STAT_BYTES = _STAT[_MACHINE].size if _MACHINE in _STAT else 0

_libc = ctypes.CDLL(None, use_errno=True)
_openat2 = _libc["syscall"]
_openat2.argtypes = (
    *(ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t),
)
_openat2.restype = ctypes.c_long
_fstat = _libc["syscall"]
_fstat.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p)
_fstat.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class Found:
    """Result of a lookup: ``fd`` is open on a file in a tree, or -1 for a synthetic folder or link.

    ``status`` is the struct stat to report, ``target`` the target of a link. A context manager that
    closes ``fd``.
    """

    path: bytes
    fd: int
    status: bytes
    target: bytes = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class VirtualFs:
    """Trees, their parent folders and links; ``folders``: folder → its time of change in ns."""

    def __init__(
        self, trees: Iterable[str], folders: Mapping[str, int], links: Mapping[str, str]
    ) -> None:
        self._trees = {os.fsencode(tree) for tree in trees}
        self._depth = max((tree.count(b"/") for tree in self._trees), default=0)
        self._links = {os.fsencode(link): os.fsencode(target) for link, target in links.items()}
        times = {os.fsencode(folder): moment for folder, moment in folders.items()}
        known = {*self._trees, *self._links, *times}
        parents = {parent for path in known for parent in _parents(path)} | times.keys()
        names = sorted(n for n in parents | self._links.keys() if not self._is_inside(n))
        self._shown = {
            name: _synthetic_status(number, link=name in self._links, moment=times.get(name, 0))
            for number, name in enumerate(names, start=1)
        }

    def find(self, path: bytes, flags: int = os.O_PATH, *, follow: bool = True) -> Found:
        """Look up an absolute ``path``; a file in a tree is opened with ``flags``.

        Raises OSError as the kernel would, and ENOENT for everything outside.
        """
        if self._is_inside(path) and _is_plain(path):
            try:
                return self._open(path, flags, follow=follow)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
        path = self._walk(path, follow=follow)
        if (status := self._shown.get(path)) is not None:
            return Found(path, -1, status, self._links.get(path, b""))
        return self._open(path, flags, follow=follow)

    def _open(self, path: bytes, flags: int, *, follow: bool) -> Found:
        fd = _open_without_links(path, flags | (0 if follow else os.O_NOFOLLOW))
        try:
            return Found(path, fd, status_of(fd))
        except OSError:
            os.close(fd)
            raise

    def _is_inside(self, path: bytes) -> bool:
        end = 0
        for _ in range(self._depth):  # and no further, however long the path
            end = path.find(b"/", end + 1)
            if end < 0:
                break
            if path[:end] in self._trees:
                return True
        return path in self._trees

    def _walk(self, path: bytes, *, follow: bool) -> bytes:
        """Return the path without links and dots; every part but the last is known to exist."""
        to_go = _parts(path)
        must_be_folder = path.endswith((b"/", b"/.", b"/.."))
        position, links = b"", 0
        while to_go:
            name = to_go.pop()
            if name == b"..":
                position = position.rpartition(b"/")[0]
                continue
            position += b"/" + name
            last = not to_go
            target = self._link_at(position, must_be_folder_here=not last or must_be_folder)
            if target is None or (last and not (follow or must_be_folder)):
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, "too many links")
            must_be_folder |= last and target.endswith((b"/", b"/.", b"/.."))
            position = b"" if target.startswith(b"/") else position.rpartition(b"/")[0]
            to_go += _parts(target)
        return position or b"/"

    def _link_at(self, position: bytes, *, must_be_folder_here: bool) -> bytes | None:
        """Return the target if ``position`` is a link; its parent has no links. Raises OSError."""
        if position in self._shown:
            return self._links.get(position)
        if not self._is_inside(position):
            raise OSError(errno.ENOENT, "outside the allowed paths")
        fd = _open_without_links(position, os.O_PATH | os.O_NOFOLLOW)
        try:
            mode = mode_of(status_of(fd))
            if stat.S_ISLNK(mode):
                return os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)
        if must_be_folder_here and not stat.S_ISDIR(mode):
            raise OSError(errno.ENOTDIR, "no folder")
        return None


def status_of(fd: int) -> bytes:
    """Return the struct stat of an open file; its access time is replaced by its time of change."""
    buffer = ctypes.create_string_buffer(_STAT_BYTES)
    if _fstat(_NR_FSTAT[_MACHINE], fd, buffer) < 0:
        raise OSError(ctypes.get_errno(), "fstat")
    raw = buffer.raw
    return raw[: _ACCESS_TIME.start] + raw[_CHANGE_OF_CONTENT_TIME] + raw[_ACCESS_TIME.stop :]


def mode_of(status: bytes) -> int:
    """Return file type and permissions from a struct stat."""
    start = _MODE_AT[_MACHINE]
    return int.from_bytes(status[start : start + 4], "little")


def _open_without_links(path: bytes, flags: int) -> int:
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, 0, _NO_LINKS)
    fd: int = _openat2(_NR_OPENAT2, _AT_FDCWD, path, how, len(how))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "openat2")
    return fd


def _parents(path: bytes) -> list[bytes]:
    """Return all folders above ``path``, nearest first."""
    parents = []
    while path != b"/" and path:
        path = path.rpartition(b"/")[0] or b"/"
        parents.append(path)
    return parents


def _parts(path: bytes) -> list[bytes]:
    """Return the names in a path, last one first, without ``.`` and empty parts."""
    return [name for name in reversed(path.split(b"/")) if name not in (b"", b".")]


def _is_plain(path: bytes) -> bool:
    return not (
        b"//" in path or b"/./" in path or b"/../" in path or path.endswith((b"/", b"/.", b"/.."))
    )


def _synthetic_status(number: int, *, link: bool, moment: int) -> bytes:
    mode = stat.S_IFLNK | 0o777 if link else stat.S_IFDIR | 0o555
    times = (moment // 10**9, moment % 10**9) * 3
    if _MACHINE == "x86_64":
        return _STAT[_MACHINE].pack(0, number, 2, mode, 0, 0, 0, 0, 0, 4096, 0, *times)
    return _STAT[_MACHINE].pack(0, number, mode, 2, 0, 0, 0, 0, 0, 4096, 0, *times)
