"""Attacks on the kernel's interface: dangerous calls must be refused before the kernel runs them.

Arguments are harmless even where a call works: the machine may be in use by others.
"""

from functools import partial

from evocodec.sandbox.redteam.attack import Theme
from evocodec.sandbox.redteam.checks import SECCOMP
from evocodec.sandbox.redteam.programs import attempt

_attack = partial(attempt, Theme.KERNEL, layer=SECCOMP)


def _calls(*calls: str) -> str:
    """Return an attack body that tries each of these system calls."""
    return f"return first({', '.join(f'lambda: reached({one})' for one in calls)})"


ATTACKS = (
    _attack(
        "io-uring",
        "use io_uring, whose requests no filter sees",
        _calls("(425, 425), 0, 0", "(426, 426), -1, 0, 0, 0, 0, 0", "(427, 427), -1, 0, 0, 0"),
    ),
    _attack("bpf", "load a BPF program or map", _calls("(321, 280), 999, 0, 0")),
    _attack("userfaultfd", "handle page faults itself", _calls("(323, 282), 0x7FFFFFFF")),
    _attack(
        "keyrings",
        "use the kernel's keyrings",
        _calls("(250, 219), 0, -3, 0", "(248, 217), 0, 0, 0, 0, 0", "(249, 218), 0, 0, 0, 0"),
    ),
    _attack("perf-events", "count performance events", _calls("(298, 241), 0, 0, -1, -1, 0")),
    _attack(
        "memory-of-others",
        "read or write another process's memory by system call",
        _calls("(310, 270), 2147483647, 0, 0, 0, 0, 0", "(311, 271), 2147483647, 0, 0, 0, 0, 0"),
    ),
    _attack(
        "modules-and-kexec",
        "load kernel modules or another kernel",
        _calls(
            "(175, 105), 0, 0, 0",
            "(313, 273), -1, 0, 0",
            "(176, 106), 0, 0",
            "(246, 104), 0, 99999, 0, 0",
        ),
    ),
    _attack(
        "kernel-log",
        "read the kernel's log or its symbols",
        """
        def log(): return f"a log of {call((103, 116), 10, 0, 0)} bytes"
        def symbols(): return opened("/proc/kallsyms")
        def config(): return opened("/proc/config.gz")
        return first(log, symbols, config)
        """,
    ),
    _attack(
        "system-settings",
        "change the clock, the host name, the swap, the quota or restart the machine",
        _calls(
            "(164, 170), 1, 1",
            "(227, 112), 999, 0",
            "(170, 161), 1, -1",
            "(167, 224), 0, 0",
            "(179, 60), -1, 0, 0, 0",
            "(169, 142), 0, 0, 0, 0",
        ),
    ),
    _attack(
        "watch-files",
        "watch what others do to files",
        _calls("(294, 26), 0x7FFFFFFF", "(300, 262), 0x7FFFFFFF, 0"),
    ),
    _attack(
        "steal-descriptors",
        "take a descriptor of another process by pidfd",
        _calls("(434, 434), 1, 0", "(438, 438), -1, 0, 0"),
    ),
    _attack(
        "message-queues",
        "use POSIX and System V queues and semaphores",
        _calls("(240, 180), 0, 0, 0, 0", "(71, 187), -1, 2, 0", "(64, 190), 0, 0, 0"),
    ),
    _attack(
        "new-filters",
        "install filters or rules of its own, such as one that answers for the kernel",
        _calls("(317, 277), 1, 8, 0", "(157, 167), 22, 2, 0", "(444, 444), 0, 0, 1"),
    ),
    _attack(
        "personality",
        "switch address randomisation off, or change its execution domain",
        _calls("(135, 92), -1"),
    ),
    _attack(
        "event-descriptors",
        "make event, signal, timer and polling descriptors",
        _calls(
            "(290, 19), 0, 0x7FFFFFFF",
            "(289, 74), -2, 0, 0, 0",
            "(283, 85), 999, 0",
            "(291, 20), 0x7FFFFFFF",
        ),
    ),
    _attack(
        "terminal-injection",
        "type into the terminal of whoever started it",
        """
        import fcntl
        return each(lambda fd: fcntl.ioctl(fd, 0x5412, b"x") or "typed", range(3))
        """,
    ),
    _attack(
        "pages-and-numa",
        "move pages, set memory policies, remap or unmap others' pages",
        _calls(
            "(256, 238), 0, 0, 0, 0",
            "(279, 239), 0, 0, 0, 0, 0, 0",
            "(216, 234), 0, 0, 0, 0, 0",
            "(440, 440), -1, 0, 0, 0, 1",
        ),
    ),
    _attack(
        "unknown-calls",
        "make system calls that are newer than the filter",
        "return each(lambda n: reached((n, n), -1, -1, -1, -1, -1, -1), range(450, 480))",
    ),
    _attack(
        "foreign-tables",
        "make system calls by the 32-bit or x32 tables, where numbers mean other things",
        """
        import mmap
        if ARM:
            return None
        page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
        page.write(b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3")
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        number = ctypes.CFUNCTYPE(ctypes.c_long)(address)()
        if number > 0:
            return f"getpid of the 32-bit table said {number}"
        raise OSError(errno.ENOSYS, "no 32-bit table")
        """,
    ),
)
