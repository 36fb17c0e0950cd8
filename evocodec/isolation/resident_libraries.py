"""Resident libraries: reads all loaded libraries into memory, so that they carry no message.

A page of a library that no process has used yet comes from the disk, a thousand times slower than
one in memory. So an encoder could send its decoder a message by the parts of a library that it
uses. So all of them are read before a program runs: once by the fork server, which keeps them
mapped, so that they stay in memory when the page cache is dropped; and by each job for the
libraries that its program adds, which must not count as the program's memory. Interface:
dl_iterate_phdr(3), elf(5), madvise(2) with MADV_POPULATE_READ, Linux 5.14.
"""

import contextlib
import ctypes

from evocodec.isolation import linux

_LOADABLE, _READABLE, _WRITABLE = 1, 4, 2
# GPU libraries have gigabytes of code for processors that are not there.
_LARGEST_BYTES = 640 << 20


class _Segment(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("offset", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("physical", ctypes.c_uint64),
        ("file_bytes", ctypes.c_uint64),
        ("memory_bytes", ctypes.c_uint64),
        ("alignment", ctypes.c_uint64),
    )


class _Library(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_uint64),
        ("name", ctypes.c_char_p),
        ("segments", ctypes.POINTER(_Segment)),
        ("segment_count", ctypes.c_uint16),
        ("loads", ctypes.c_ulonglong),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_known: set[int] = set()
_loads = [0]


def read_all(*, keep_mapped: bool) -> None:
    """Read the libraries that were loaded since the last call into memory; never fails."""
    found: list[tuple[int, int, bool]] = []

    def look(place: int, _size: int, _data: int | None) -> int:
        facts = _Library.from_address(place)
        if facts.loads == _loads[0]:
            return 1  # none since
        if facts.base not in _known:
            _known.add(facts.base)
            found.extend(_readable(facts))
            found_loads[0] = facts.loads
        return 0

    found_loads = list(_loads)
    linux.for_each_library(_CALLBACK(look))
    _loads[0] = found_loads[0]
    for address, length, writable in found:
        with contextlib.suppress(OSError):  # an older kernel, or code that was unmapped
            linux.populate(address, length, keep=keep_mapped or writable)


def _readable(library: _Library) -> list[tuple[int, int, bool]]:
    """Return address, length and whether it can be written, of each part."""
    parts = [library.segments[index] for index in range(library.segment_count)]
    parts = [part for part in parts if part.kind == _LOADABLE and part.flags & _READABLE]
    if sum(part.file_bytes for part in parts) > _LARGEST_BYTES:
        return []
    return [
        (library.base + part.address, part.file_bytes, bool(part.flags & _WRITABLE))
        for part in parts
        if part.file_bytes
    ]
