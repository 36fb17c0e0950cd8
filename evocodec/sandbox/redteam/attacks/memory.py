"""Attacks on memory limits, by kinds of memory that the kernel counts differently."""

from dataclasses import replace
from functools import partial

from evocodec.sandbox.policy import MEBIBYTE
from evocodec.sandbox.redteam.attack import ROOMY_LIMITS, Theme
from evocodec.sandbox.redteam.checks import RLIMITS, SECCOMP
from evocodec.sandbox.redteam.programs import attempt

_LIMITS = replace(ROOMY_LIMITS, memory_bytes=96 * MEBIBYTE)
_attack = partial(attempt, Theme.MEMORY, layer=RLIMITS, limits=_LIMITS)

ATTACKS = (
    _attack(
        "heap",
        "fill the heap with Python objects",
        """
        keep = [bytes([1]) * (1 << 20) for _ in range(256)]
        return f"{len(keep)} MiB under a limit of 96"
        """,
    ),
    _attack(
        "small-objects",
        "fill the heap with many small objects",
        """
        keep = [[index] for index in range(2_500_000)]
        return f"{len(keep)} lists under a limit of 96 MiB"
        """,
    ),
    _attack(
        "numpy",
        "fill arrays",
        """
        keep = [np.ones(1 << 20, np.uint8) for _ in range(256)]
        return f"{len(keep)} MiB under a limit of 96"
        """,
    ),
    _attack(
        "one-huge-array",
        "reserve one huge array and touch it here and there",
        """
        keep = np.empty(1 << 32, np.uint8)
        keep[:: 1 << 26] = 1
        return "4 GiB of addresses under a limit of 96 MiB"
        """,
    ),
    _attack(
        "opencv",
        "have native code allocate",
        """
        import cv2
        keep = cv2.resize(np.ones((8, 8), np.uint8), (16384, 16384))
        return f"{keep.nbytes >> 20} MiB under a limit of 96"
        """,
    ),
    _attack(
        "torch",
        "fill tensors",
        """
        import torch
        keep = [torch.ones(1 << 20, dtype=torch.uint8) for _ in range(256)]
        return f"{len(keep)} MiB under a limit of 96"
        """,
    ),
    _attack(
        "torch-shared",
        "move tensors to memory that other processes may map",
        """
        import torch
        def by_name():
            import torch.multiprocessing as shared
            shared.set_sharing_strategy("file_system")
            return torch.ones(1 << 20).share_memory_().is_shared() and "by name"
        def by_descriptor(): return torch.ones(1 << 20).share_memory_().is_shared() and "by fd"
        def in_a_file(): return torch.from_file(f"{SCRATCH}/{TOKEN}", True, 1 << 28).size()
        return first(by_name, by_descriptor, in_a_file)
        """,
    ),
    _attack(
        "private-mapping",
        "map anonymous memory, and let mappings grow",
        """
        import mmap
        keep = []
        for _ in range(16):
            one = mmap.mmap(-1, 1 << 24, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            np.frombuffer(one, np.uint8)[::4096] = 1
            keep.append(one)
        return f"{len(keep) * 16} MiB under a limit of 96"
        """,
    ),
    _attack(
        "memfd",
        "keep memory in an anonymous file, which no limit on the process counts",
        """
        fd = os.memfd_create(TOKEN)
        for _ in range(160):
            os.write(fd, bytes(1 << 20))
        return f"{os.fstat(fd).st_size >> 20} MiB in a memfd"
        """,
        layer=SECCOMP,
    ),
    _attack(
        "secret-memory",
        "keep memory in memfd_secret",
        "return call((447, 447), 0)",
        layer=SECCOMP,
    ),
    _attack(
        "shared-anonymous",
        "map shared anonymous memory, which RLIMIT_DATA does not count",
        """
        import mmap
        one = mmap.mmap(-1, 160 << 20)
        np.frombuffer(one, np.uint8)[::4096] = 1
        return "160 MiB shared"
        """,
        layer=SECCOMP,
    ),
    _attack(
        "sysv-shared",
        "keep memory in System V segments, which stay when it is gone",
        """
        numbers = (29, 194)
        segment = call(numbers, 0, 1 << 20, 0o1600)
        call((31, 195), segment, 0, 0)  # marked for removal at once: harmless where it works
        return f"segment {segment}"
        """,
        layer=SECCOMP,
    ),
    _attack(
        "shared-dev-zero",
        "map /dev/zero, /dev/null or a library shared and write there",
        """
        import mmap
        def mapped(name):
            one = mmap.mmap(os.open(name, os.O_RDWR), 160 << 20)
            np.frombuffer(one, np.uint8)[::4096] = 1
            return f"160 MiB of {name}"
        return each(lambda name: mapped(name), ("/dev/zero", "/dev/shm", "/dev/null"))
        """,
        layer=SECCOMP,
    ),
    _attack(
        "mlock",
        "lock memory so that it cannot be paged out",
        """
        keep = np.ones(1 << 22, np.uint8)
        address = ctypes.c_void_p(keep.ctypes.data)
        def one(): return call((149, 228), address, keep.nbytes) or "mlock"
        def two(): return call((325, 284), address, keep.nbytes, 0) or "mlock2"
        def everything(): return call((151, 230), 3) or "mlockall"
        return first(one, two, everything)
        """,
        layer=SECCOMP,
    ),
    _attack(
        "locked-mapping",
        "map memory that is locked, or on huge pages, from the start",
        """
        import mmap
        def locked(): return mmap.mmap(-1, 1 << 22, 0x02 | 0x20 | 0x2000) and "locked"
        def huge(): return mmap.mmap(-1, 1 << 22, 0x02 | 0x20 | 0x40000) and "huge pages"
        return first(locked, huge)
        """,
    ),
    _attack(
        "stack",
        "let a thread have a gigantic stack",
        """
        import threading
        threading.stack_size(1 << 30)
        done = []
        thread = threading.Thread(target=lambda: done.append(1))
        thread.start()
        thread.join()
        return f"a stack of 1 GiB under a limit of 96 MiB: {done}"
        """,
    ),
    _attack(
        "deep-recursion",
        "overflow the stack into a neighbour's memory",
        """
        sys.setrecursionlimit(1 << 30)
        value = []
        for _ in range(300_000):
            value = [value]
        return f"survived: {len(repr(value))}"
        """,
    ),
    _attack(
        "pipe-buffers",
        "keep memory in the kernel: pipes, event descriptors, enlarged buffers",
        """
        import fcntl
        def pipes(): return f"pipe {os.pipe()}"
        def event(): return call((290, 19), 0, 0)
        def bigger(): return fcntl.fcntl(4, 1031, 1 << 24)
        def spliced(): return call((276, 77), 3, 4, 1 << 20, 0)
        return first(pipes, event, bigger, spliced)
        """,
        layer=SECCOMP,
    ),
)
