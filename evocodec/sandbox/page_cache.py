"""Page cache: drops the file pages that a job has read, so that they carry no message.

Reading a cached page takes about 1 µs, reading it from disk about 50 µs. An encoder could pass
bits to its decoder by the files that it reads, and one decoder to the next.
"""

import os
from collections.abc import Iterable
from functools import cache

from evocodec.sandbox.allowed_paths import allowed_paths

_MADE_BY_THE_KERNEL = ("/proc/", "/sys/", "/dev/")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# Folder → its time of change (ns), its files, its subfolders.
_listings: dict[str, tuple[int, list[str], list[str]]] = {}


def drop_page_cache(allowed_imports: Iterable[str]) -> None:
    """Evict all files that jobs may read from the page cache; takes about 4 µs per file.

    Pages in use stay. Looking up every file also makes all names equally quick to find.
    """
    folders: list[str] = []
    for path in _trees(frozenset(allowed_imports)):
        if os.path.isdir(path):
            folders.append(path)
        else:
            _evict([path])
    while folders:
        files, inside = _contents(folders.pop())
        _evict(files)
        folders += inside


@cache
def _trees(allowed_imports: frozenset[str]) -> tuple[str, ...]:
    paths = allowed_paths(allowed_imports).trees
    return tuple(path for path in paths if not path.startswith(_MADE_BY_THE_KERNEL))


def _contents(folder: str) -> tuple[list[str], list[str]]:
    """Return the files and folders in ``folder``; listed again when it has changed."""
    try:
        changed = os.stat(folder).st_mtime_ns
        listing = _listings.get(folder)
        if listing is None or listing[0] != changed:
            with os.scandir(folder) as found:
                entries = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in found]
            files = [path for path, is_folder in entries if not is_folder]
            inside = [path for path, is_folder in entries if is_folder]
            listing = _listings[folder] = (changed, files, inside)
    except OSError:  # gone meanwhile, or not ours to read
        return [], []
    return listing[1], listing[2]


def _evict(paths: Iterable[str]) -> None:
    for path in paths:
        try:
            fd = os.open(path, _FLAGS)
        except OSError:  # gone meanwhile, not ours to read, or a link
            continue
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError:  # no file with pages
            continue
        finally:
            os.close(fd)
