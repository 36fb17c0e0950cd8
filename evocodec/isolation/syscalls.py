"""System calls that a candidate may make: names, and numbers on two architectures.

Numeric Python needs few: memory, threads, clocks, reading files, and the pipes it was given.
Numbers: asm/unistd_64.h and asm-generic/unistd.h. -1: the architecture has no such call.
"""

# name: (x86_64, aarch64)
ALLOWED: dict[str, tuple[int, int]] = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "stat": (4, -1),
    "fstat": (5, 80),
    "lstat": (6, -1),
    "poll": (7, -1),
    "lseek": (8, 62),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "access": (21, -1),
    "select": (23, -1),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "dup": (32, 23),
    "dup2": (33, -1),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "uname": (63, 160),
    "getcwd": (79, 17),
    "readlink": (89, -1),
    "gettimeofday": (96, 169),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "rt_sigpending": (127, 136),
    "sigaltstack": (131, 132),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126),
    "arch_prctl": (158, -1),
    "gettid": (186, 178),
    "time": (201, -1),
    "sched_getaffinity": (204, 123),
    "getdents64": (217, 61),
    "set_tid_address": (218, 96),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "newfstatat": (262, 79),
    "readlinkat": (267, 78),
    "faccessat": (269, 48),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    "set_robust_list": (273, 99),
    "dup3": (292, 24),
    "preadv": (295, 69),
    "getcpu": (309, 168),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "statx": (332, 291),
    "rseq": (334, 293),
    "close_range": (436, 436),
    "faccessat2": (439, 439),
    "futex_waitv": (449, 449),
}

# Allowed for some arguments only; seccomp.py says which.
CONDITIONAL: dict[str, tuple[int, int]] = {
    "open": (2, -1),
    "mmap": (9, 222),
    "ioctl": (16, 29),
    "madvise": (28, 233),
    "clone": (56, 220),
    "kill": (62, 129),
    "fcntl": (72, 25),
    "prctl": (157, 167),
    "futex": (202, 98),
    "tgkill": (234, 131),
    "openat": (257, 56),
    "prlimit64": (302, 261),
}

# What a GPU's driver library needs besides; allowed only together with device files.
FOR_DEVICES: dict[str, tuple[int, int]] = {
    "epoll_wait": (232, -1),
    "epoll_ctl": (233, 21),
    "mbind": (237, 235),
    "get_mempolicy": (239, 236),
    "epoll_pwait": (281, 22),
    "eventfd2": (290, 19),
    "epoll_create1": (291, 20),
    "pipe2": (293, 59),
}

# What writing to a scratch folder needs; allowed only to a job that has one. No links, no special
# files, no attributes, no locks, no fallocate.
FOR_SCRATCH: dict[str, tuple[int, int]] = {
    "pwrite64": (18, 68),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "ftruncate": (77, 46),
    "rename": (82, -1),
    "mkdir": (83, -1),
    "rmdir": (84, -1),
    "unlink": (87, -1),
    "mkdirat": (258, 34),
    "unlinkat": (263, 35),
    "renameat": (264, 38),
    "renameat2": (316, 276),
}

# Answered "no such call", because the C library then falls back to one that can be filtered.
PRETENDED_MISSING: dict[str, tuple[int, int]] = {
    "clone3": (435, 435),
    "openat2": (437, 437),
}

# Allowed until the path lock is on, and only to put it on.
INSTALLS_FILTERS: dict[str, tuple[int, int]] = {"seccomp": (317, 277)}

# Of the calls above, those that look a path up in the file system, or read a folder. newfstatat and
# statx can be asked for an open file by an empty path, but a filter cannot see whether it is empty;
# the kernel looks up any other, whatever the flags. fstat remains.
TAKES_PATH = (
    *("open", "openat", "openat2", "access", "faccessat", "faccessat2", "readlink", "readlinkat"),
    *("stat", "lstat", "newfstatat", "statx", "getdents64"),
    *("rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat"),
)

# Where jobs see the machine's own files: answered by the path broker, for the paths they may know.
BROKERED = (
    *("open", "openat", "access", "faccessat", "readlink", "readlinkat"),
    *("stat", "lstat", "fstat", "newfstatat"),
)
# Starts a thread: the path broker counts, and leaves the call to the kernel.
COUNTED = ("clone",)
# The C library, and others, fall back to the calls above.
WITHOUT_BROKER = ("statx", "faccessat2")
