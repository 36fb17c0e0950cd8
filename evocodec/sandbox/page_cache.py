"""Page cache: drops the file pages that a job has read, so that they carry no message.

A page that was read before comes in a microsecond, another one from the disk in fifty. So an
encoder could tell its decoder something by what it reads, and that one could tell the next.
"""

import os
from collections.abc import Iterable
from functools import cache

from evocodec.sandbox.readable import readable_paths

_MADE_BY_THE_KERNEL = ("/proc/", "/sys/", "/dev/")


_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# Folder → when it changed (ns), its files, and the folders in it.
_known: dict[str, tuple[int, list[str], list[str]]] = {}


def drop_page_cache(allowed_imports: Iterable[str]) -> None:
    """Put out of memory what jobs may read, but for pages in use; 4 µs for each file.

    Looking every file up makes names equally quick to find as well.
    """
    folders: list[str] = []
    for path in _trees(frozenset(allowed_imports)):
        if os.path.isdir(path):
            folders.append(path)
        else:
            _put_out_of_memory([path])
    while folders:
        files, inside = _contents(folders.pop())
        _put_out_of_memory(files)
        folders += inside


@cache
def _trees(allowed_imports: frozenset[str]) -> tuple[str, ...]:
    paths = readable_paths(allowed_imports).readable
    return tuple(path for path in paths if not path.startswith(_MADE_BY_THE_KERNEL))


def _contents(folder: str) -> tuple[list[str], list[str]]:
    """Its files and folders, listed again when it has changed."""
    try:
        changed = os.stat(folder).st_mtime_ns
        known = _known.get(folder)
        if known is None or known[0] != changed:
            with os.scandir(folder) as found:
                entries = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in found]
            files = [path for path, is_folder in entries if not is_folder]
            inside = [path for path, is_folder in entries if is_folder]
            known = _known[folder] = (changed, files, inside)
    except OSError:  # gone meanwhile, or not ours to read
        return [], []
    return known[1], known[2]


def _put_out_of_memory(paths: Iterable[str]) -> None:
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
