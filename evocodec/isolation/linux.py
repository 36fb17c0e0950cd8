"""Linux system calls that Python's standard library lacks, through ctypes."""

import ctypes
import errno
import mmap
import os
import re
from collections.abc import Callable

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

_M_ARENA_MAX = -8
_MADV_POPULATE_READ = 22
_POPULATED_AT_A_TIME = 8 << 20
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_POSSIBLE_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mmap.restype = ctypes.c_void_p
_MAP_FAILED = ctypes.c_void_p(-1).value


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces named by ``flags``; raises OSError."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, flags: int) -> None:
    """Join the namespace behind ``fd``; raises OSError."""
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)), "setns")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system, or change a mount; raises OSError that names ``target``."""
    arguments = [ctypes.c_char_p(os.fsencode(text)) for text in (source, target, kind)]
    last = ctypes.c_char_p(os.fsencode(options))
    _checked(_libc.mount(*arguments, ctypes.c_ulong(flags), last), f"mount {target}")


def unmount(target: str, flags: int) -> None:
    """Unmount ``target``; raises OSError."""
    _checked(_libc.umount2(ctypes.c_char_p(os.fsencode(target)), ctypes.c_int(flags)), "umount")


def map_shared(fd: int, length: int, *, writable: bool) -> memoryview:
    """Map a file as shared memory, keeping no descriptor as mmap.mmap does; raises OSError."""
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    address = _libc.mmap(
        None,
        ctypes.c_size_t(length),
        ctypes.c_int(protection),
        ctypes.c_int(mmap.MAP_SHARED),
        ctypes.c_int(fd),
        ctypes.c_long(0),
    )
    if address is None or address == _MAP_FAILED:
        _checked(-1, "mmap")
    view = memoryview((ctypes.c_char * length).from_address(address)).cast("B")
    return view if writable else view.toreadonly()


def map_nothing(address: int, length: int) -> None:
    """Replace the mapping there by memory that cannot be read or written; raises OSError."""
    fixed = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10  # MAP_FIXED
    place, size = ctypes.c_void_p(address), ctypes.c_size_t(length)
    arguments = (ctypes.c_int(0), ctypes.c_int(fixed), ctypes.c_int(-1), ctypes.c_long(0))
    if _libc.mmap(place, size, *arguments) == _MAP_FAILED:
        _checked(-1, "mmap")


def address_of(function: object) -> int | None:
    """Return the address of a native function."""
    return ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]


def make_writable(address: int, length: int) -> None:
    """Make these pages writable, such as a library's relocated tables; raises OSError."""
    start = address // mmap.PAGESIZE * mmap.PAGESIZE
    size = ctypes.c_size_t(address + length - start)
    access = ctypes.c_int(mmap.PROT_READ | mmap.PROT_WRITE)
    _checked(_libc.mprotect(ctypes.c_void_p(start), size, access), "mprotect")


def for_each_library(callback: object) -> None:
    """Call ``callback``, a C function, for each loaded library; dl_iterate_phdr(3)."""
    _libc.dl_iterate_phdr(callback, None)


def populate(address: int, length: int, *, keep: bool) -> None:
    """Map all pages there for reading, whether or not they are in memory yet; raises OSError.

    Without ``keep`` they are mapped piece by piece and released again, but stay in memory: for
    pages of a file that were not written.
    """
    end = address + length
    address = address // mmap.PAGESIZE * mmap.PAGESIZE
    step = end - address if keep else _POPULATED_AT_A_TIME
    for start in range(address, end, step):
        place, size = ctypes.c_void_p(start), ctypes.c_size_t(min(step, end - start))
        _checked(_libc.madvise(place, size, ctypes.c_int(_MADV_POPULATE_READ)), "madvise")
        if not keep:
            _checked(_libc.madvise(place, size, ctypes.c_int(mmap.MADV_DONTNEED)), "madvise")


def prctl(option: int, argument: int = 0, argument3: int = 0) -> None:
    """Change one process attribute; raises OSError."""
    arguments = [ctypes.c_ulong(value) for value in (argument, argument3, 0, 0)]
    _checked(_libc.prctl(ctypes.c_int(option), *arguments), f"prctl({option})")


def syscall(number: int, *arguments: object) -> int:
    """Make a raw system call; raises OSError, so that a caller can tell ENOSYS from EPERM."""
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments), f"syscall({number})")


def limit_malloc_arenas(count: int) -> None:
    """Keep glibc from reserving 128 MiB of addresses for each thread; a no-op elsewhere."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(ctypes.c_int(_M_ARENA_MAX), ctypes.c_int(count))


def become(user: int) -> None:
    """Switch from root to this user and group; raises OSError."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def counts_processes_per_namespace() -> bool:
    """Whether RLIMIT_NPROC counts each user namespace by itself, as Linux does since 5.14."""
    numbers = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return numbers is not None and tuple(map(int, numbers.groups())) >= (5, 14)


def failure_in_child(action: Callable[[], object]) -> str:
    """Try ``action`` in a child that ends afterwards; returns why it failed, empty if it did not.

    Not for a process with threads. Raises OSError when there can be no child.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - the edge of the child
            os.write(writer, str(error)[:500].encode() or b"failed")
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        reason = file.read().decode("utf-8", "replace")
    os.waitpid(pid, 0)
    return reason


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def drop_capabilities() -> None:
    """Give up every capability: ambient, bounding, effective, permitted and inheritable."""
    try:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        for capability in range(_LAST_POSSIBLE_CAPABILITY + 1):
            prctl(PR_CAPBSET_DROP, capability)
    except OSError as error:
        # EINVAL: past the last capability. EPERM: already without CAP_SETPCAP, as in a
        # restricted pod; there the bounding set cannot be regained without execve either.
        if error.errno not in {errno.EINVAL, errno.EPERM}:
            raise
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    empty = (ctypes.c_uint32 * 6)()
    _checked(_libc.capset(ctypes.byref(header), ctypes.byref(empty)), "capset")
