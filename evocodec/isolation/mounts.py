"""Root folder of jobs: holds only what programs may read (mount namespace and pivot_root).

Built once, in the fork server; its jobs inherit it and, having no privilege over it, cannot change
it. What is not in it does not exist for them: not even ``stat`` finds it.
Interface: mount(2), mount_setattr(2), pivot_root(2); Linux 5.12.
"""

import contextlib
import ctypes
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from evocodec.isolation import linux

_MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_NR_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_NR_MOUNT_SETATTR = 442
_AT_RECURSIVE = 0x8000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC = 1, 2, 4, 8
_NO_ACCESS_TIMES, _ANY_ACCESS_TIMES = 0x10, 0x70
_SEALED = _READ_ONLY | _NO_SUID | _NO_DEVICES
_SEALED_DEVICE = _READ_ONLY | _NO_SUID | _NO_EXEC
# Where the new root is put together, out of the way of everything that goes into it.
_BUILDING_SITES = ("/mnt", "/media", "/srv", "/opt", "/run", "/tmp", "/home", "/sys")  # noqa: S108
_ROOT_OPTIONS = "mode=0755,size=1m,nr_inodes=16384"
# Landlock passes over a mount point itself on its way up: the rule belongs to the folder above.
SCRATCH_PARENT = "/scratch"
SCRATCH = f"{SCRATCH_PARENT}/tmp"  # noqa: S108
_MASK_OPTIONS = "mode=0755,size=64k,nr_inodes=1024"
_WORTH_BINDING_WHOLE = 16


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class VirtualFs:
    """What the new root holds: absolute paths at their own places.

    ``sources`` are files and trees, ``folders`` exist but start out empty, ``links`` are symbolic
    links and their targets. In the place of what is ``withheld`` from trees is something empty.
    """

    sources: tuple[str, ...]
    folders: tuple[str, ...]
    links: Mapping[str, str]
    withheld: tuple[str, ...] = ()


def enter(view: VirtualFs) -> None:
    """Make ``view`` this process's root for good; raises OSError, and then only hid one folder."""
    if os.uname().machine not in _NR_PIVOT_ROOT:
        raise OSError(f"the number of pivot_root on {os.uname().machine} is not known")
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    base = _building_site(view)
    linux.mount("tmpfs", base, "tmpfs", _NO_SUID | _NO_DEVICES, _ROOT_OPTIONS)
    try:
        _furnish(base, view)
        _pivot(base)
    except OSError:
        with contextlib.suppress(OSError):
            linux.unmount(base, _MNT_DETACH)
        raise


def mount_scratch(size_bytes: int, inodes: int) -> None:
    """Put an empty file system of this size at ``SCRATCH``, in this process's own mount namespace.

    Raises OSError. Without a namespace of its own, other jobs would see it: unshares one.
    """
    linux.unshare(linux.CLONE_NEWNS)
    options = f"mode=0700,size={size_bytes},nr_inodes={inodes + 1}"  # its root takes one
    linux.mount("tmpfs", SCRATCH, "tmpfs", _NO_SUID | _NO_DEVICES | _NO_EXEC, options)


def _building_site(view: VirtualFs) -> str:
    wanted = (*view.sources, *view.folders)
    for site in _BUILDING_SITES:
        if Path(site).is_dir() and not any(_is_within(path, (site,)) for path in wanted):
            return os.path.realpath(site)
    raise OSError(f"none of {', '.join(_BUILDING_SITES)} is free to build a root folder in")


def _furnish(base: str, view: VirtualFs) -> None:
    bound: list[str] = []
    masks: list[str] = []
    for folder, hidden in _nearly_whole(view.sources):
        _bind(folder, base + folder)
        bound += (path for path in view.sources if os.path.dirname(path) == folder)
        masks += (f"{base}{folder}/{name}" for name in hidden)
    for mask in masks:
        linux.mount("tmpfs", mask, "tmpfs", _NO_SUID | _NO_DEVICES | _NO_EXEC, _MASK_OPTIONS)
    for source in sorted(view.sources):
        if not _is_within(source, bound) and os.path.exists(source):
            _bind(source, base + source)
            bound.append(source)
    for folder in view.folders:
        if not _is_within(folder, bound):
            Path(base + folder).mkdir(parents=True, exist_ok=True)
    masks += _withhold(base, view.withheld)
    for link, target in view.links.items():
        if not _is_within(link, bound) and not os.path.lexists(base + link):
            Path(base + link).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(target, base + link)
    for place in (base, *masks):
        _set_attributes(place, _SEALED | _NO_EXEC, 0)


def _withhold(base: str, paths: Iterable[str]) -> Iterator[str]:
    """Cover files and folders; says which covers are to be sealed."""
    empty = Path(base, "withheld")
    empty.touch(mode=0o444)
    for path in paths:
        place = base + path
        if os.path.isdir(place):
            flags = _NO_SUID | _NO_DEVICES | _NO_EXEC
            linux.mount("tmpfs", place, "tmpfs", flags, _MASK_OPTIONS)
            yield place
        elif os.path.exists(place):
            linux.mount(str(empty), place, "", _MS_BIND)
            yield place


def _nearly_whole(sources: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Folders of which nearly all is wanted, with the subfolders that must be hidden.

    The standard library is one of them. Each mount is copied for each job, so that one with a few
    hidden folders is better than two hundred.
    """
    wanted = set(sources)
    counts = Counter(map(os.path.dirname, wanted))
    for folder, count in counts.items():
        if count < _WORTH_BINDING_WHOLE:
            continue
        with os.scandir(folder) as entries:
            hidden = [entry for entry in entries if entry.path not in wanted]
        if len(hidden) <= count // 8 and all(e.is_dir(follow_symlinks=False) for e in hidden):
            yield folder, tuple(entry.name for entry in hidden)


def _bind(source: str, place: str) -> None:
    if os.path.isdir(source):
        Path(place).mkdir(parents=True, exist_ok=True)
    else:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).touch()
    linux.mount(source, place, "", _MS_BIND | _MS_REC)
    _set_attributes(place, _SEALED_DEVICE if _is_device(source) else _SEALED, _AT_RECURSIVE)
    # Refused to an ordinary user, whose mounts keep what the machine's say.
    with contextlib.suppress(OSError):
        _set_attributes(place, _NO_ACCESS_TIMES, _AT_RECURSIVE, clear=_ANY_ACCESS_TIMES)


def _is_device(path: str) -> bool:
    return path.startswith("/dev/")


def _is_within(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def _set_attributes(place: str, attributes: int, flags: int, *, clear: int = 0) -> None:
    wanted = _MountAttributes(set=attributes, clear=clear)
    linux.syscall(
        _NR_MOUNT_SETATTR,
        ctypes.c_int(-100),  # AT_FDCWD
        ctypes.c_char_p(os.fsencode(place)),
        ctypes.c_uint(flags),
        ctypes.byref(wanted),
        ctypes.c_size_t(ctypes.sizeof(wanted)),
    )


def _pivot(base: str) -> None:
    """Swap the roots in place: the old one ends up on top of the new one, and is taken away."""
    os.chdir(base)
    here = ctypes.c_char_p(b".")
    linux.syscall(_NR_PIVOT_ROOT[os.uname().machine], here, here)
    linux.unmount(".", _MNT_DETACH)
    os.chdir("/")
