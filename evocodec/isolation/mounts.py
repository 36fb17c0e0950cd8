"""Root folder of jobs: holds only what programs may read (mount namespace and pivot_root).

The fork server builds it once. Jobs inherit it and have no privilege to change it. Files outside it
do not exist for them: not even ``stat`` finds them.
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
# The new root is built in one of these: one that holds nothing of what goes into it.
_BUILD_FOLDERS = ("/mnt", "/media", "/srv", "/opt", "/run", "/tmp", "/home", "/sys")  # noqa: S108
_ROOT_OPTIONS = "mode=0755,size=1m,nr_inodes=16384"
# Landlock passes over a mount point itself on its way up: the rule belongs to the folder above.
SCRATCH_PARENT = "/scratch"
SCRATCH = f"{SCRATCH_PARENT}/tmp"  # noqa: S108
_MASK_OPTIONS = "mode=0755,size=64k,nr_inodes=1024"
_BIND_WHOLE_FROM = 16


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class RootFolder:
    """Contents of the new root; all paths are absolute and keep their places.

    ``sources`` are files and trees, ``folders`` exist but start out empty, ``links`` are symbolic
    links and their targets. Files and folders in ``masked`` are replaced by empty ones.
    """

    sources: tuple[str, ...]
    folders: tuple[str, ...]
    links: Mapping[str, str]
    masked: tuple[str, ...] = ()


def enter(root: RootFolder) -> None:
    """Make ``root`` this process's root folder for good.

    Raises OSError. After a failure the process still has its old root, with one folder hidden.
    """
    if os.uname().machine not in _NR_PIVOT_ROOT:
        raise OSError(f"the number of pivot_root on {os.uname().machine} is not known")
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    base = _free_folder(root)
    linux.mount("tmpfs", base, "tmpfs", _NO_SUID | _NO_DEVICES, _ROOT_OPTIONS)
    try:
        _populate(base, root)
        _pivot(base)
    except OSError:
        with contextlib.suppress(OSError):
            linux.unmount(base, _MNT_DETACH)
        raise


def mount_scratch(size_bytes: int, inodes: int) -> None:
    """Mount an empty file system of this size at ``SCRATCH``.

    Unshares a mount namespace first, since other jobs would see it otherwise. Raises OSError.
    """
    linux.unshare(linux.CLONE_NEWNS)
    options = f"mode=0700,size={size_bytes},nr_inodes={inodes + 1}"  # its root takes one
    linux.mount("tmpfs", SCRATCH, "tmpfs", _NO_SUID | _NO_DEVICES | _NO_EXEC, options)


def _free_folder(root: RootFolder) -> str:
    wanted = (*root.sources, *root.folders)
    for folder in _BUILD_FOLDERS:
        if Path(folder).is_dir() and not any(_is_within(path, (folder,)) for path in wanted):
            return os.path.realpath(folder)
    raise OSError(f"none of {', '.join(_BUILD_FOLDERS)} is free to build a root folder in")


def _populate(base: str, root: RootFolder) -> None:
    bound: list[str] = []
    masks: list[str] = []
    for folder, hidden in _mostly_allowed(root.sources):
        _bind(folder, base + folder)
        bound += (path for path in root.sources if os.path.dirname(path) == folder)
        masks += (f"{base}{folder}/{name}" for name in hidden)
    for mask in masks:
        linux.mount("tmpfs", mask, "tmpfs", _NO_SUID | _NO_DEVICES | _NO_EXEC, _MASK_OPTIONS)
    for source in sorted(root.sources):
        if not _is_within(source, bound) and os.path.exists(source):
            _bind(source, base + source)
            bound.append(source)
    for folder in root.folders:
        if not _is_within(folder, bound):
            Path(base + folder).mkdir(parents=True, exist_ok=True)
    masks += _mask(base, root.masked)
    for link, target in root.links.items():
        if not _is_within(link, bound) and not os.path.lexists(base + link):
            Path(base + link).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(target, base + link)
    for target in (base, *masks):
        _set_attributes(target, _SEALED | _NO_EXEC, 0)


def _mask(base: str, paths: Iterable[str]) -> Iterator[str]:
    """Cover files and folders; yields the covered folders, which must be sealed later."""
    empty = Path(base, "masked")
    empty.touch(mode=0o444)
    for path in paths:
        target = base + path
        if os.path.isdir(target):
            flags = _NO_SUID | _NO_DEVICES | _NO_EXEC
            linux.mount("tmpfs", target, "tmpfs", flags, _MASK_OPTIONS)
            yield target
        elif os.path.exists(target):
            linux.mount(str(empty), target, "", _MS_BIND)
            yield target


def _mostly_allowed(sources: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield folders that are allowed nearly as a whole, with the subfolders that must be hidden.

    One is the standard library. Every mount is copied for each job, so one mount with a few hidden
    folders costs less than two hundred mounts.
    """
    wanted = set(sources)
    counts = Counter(map(os.path.dirname, wanted))
    for folder, count in counts.items():
        if count < _BIND_WHOLE_FROM:
            continue
        with os.scandir(folder) as entries:
            hidden = [entry for entry in entries if entry.path not in wanted]
        if len(hidden) <= count // 8 and all(e.is_dir(follow_symlinks=False) for e in hidden):
            yield folder, tuple(entry.name for entry in hidden)


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    linux.mount(source, target, "", _MS_BIND | _MS_REC)
    _set_attributes(target, _SEALED_DEVICE if _is_device(source) else _SEALED, _AT_RECURSIVE)
    # An ordinary user is refused this; the mounts then keep the machine's options.
    with contextlib.suppress(OSError):
        _set_attributes(target, _NO_ACCESS_TIMES, _AT_RECURSIVE, clear=_ANY_ACCESS_TIMES)


def _is_device(path: str) -> bool:
    return path.startswith("/dev/")


def _is_within(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def _set_attributes(target: str, attributes: int, flags: int, *, clear: int = 0) -> None:
    wanted = _MountAttributes(set=attributes, clear=clear)
    linux.syscall(
        _NR_MOUNT_SETATTR,
        ctypes.c_int(-100),  # AT_FDCWD
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_uint(flags),
        ctypes.byref(wanted),
        ctypes.c_size_t(ctypes.sizeof(wanted)),
    )


def _pivot(base: str) -> None:
    """Swap the roots in place: the old root is mounted over the new one, and is then unmounted."""
    os.chdir(base)
    here = ctypes.c_char_p(b".")
    linux.syscall(_NR_PIVOT_ROOT[os.uname().machine], here, here)
    linux.unmount(".", _MNT_DETACH)
    os.chdir("/")
