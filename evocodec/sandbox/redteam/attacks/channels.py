"""Attacks by side channels: clocks, counters, caches, the load of the machine.

An encoder that may not write to disk could still leave bits in the state of the machine for its
decoder. Cheap channels are closed. Others, such as the clock, keep a value for a moment only, or
are undone (``page_cache.py``): decoding again, later and by another launcher, gives other frames,
and the candidate is rejected for that.
"""

import textwrap
from functools import partial

from evocodec.sandbox.redteam.attack import Attack, Theme
from evocodec.sandbox.redteam.checks import (
    CONFORMANCE,
    HELD_OUT,
    SECCOMP,
    not_reproduced,
    read_twice,
)
from evocodec.sandbox.redteam.programs import attempt, full_program

_attack = partial(attempt, Theme.PERSISTENCE)

# ``send(bits)`` by the encoder, ``receive()`` by the decoder: a byte or two of the source.
_CHANNEL = """
def encode(frames, stream, qp):
    first = next(frames)[0]
    send(int(first[0, 0]), int(first[0, 1]))
    yield b""

def decode(packets, stream):
    list(packets)
    said = np.zeros((stream.height, stream.width), np.uint8)
    said[0, :2] = receive()
    small = np.zeros((stream.chroma_height, stream.chroma_width), np.uint8)
    for index in range(stream.frame_count):
        yield said, small, small
"""


def _channel(name: str, what: str, source: str, samples: int = 2) -> Attack:
    return full_program(
        Theme.PERSISTENCE,
        name,
        what,
        textwrap.dedent(source) + _CHANNEL,
        layer=CONFORMANCE,
        check=read_twice(CONFORMANCE, samples),
        steps=("encode", "decode", "verify"),
    )


ATTACKS = (
    _channel(
        "channel-clock",
        "tell its decoder something by the moment at which it ends",
        """
        SLOT_SECONDS, SLOTS, LAUNCH_SECONDS = 0.01, 256, 0.015
        def slot(moment): return int(moment / SLOT_SECONDS) % SLOTS
        def send(first, second):
            while slot(time.time() + LAUNCH_SECONDS) != first: pass
        def receive():
            return slot(time.time()), 0
        """,
        samples=1,
    ),
    _channel(
        "channel-process-numbers",
        "tell its decoder something by how many process numbers it uses up",
        """
        import threading
        def send(first, second):
            for _ in range(first):
                thread = threading.Thread(target=int)
                thread.start()
                thread.join()
        def receive(): return os.getpid() & 0xFF, os.getpid() >> 8 & 0xFF
        """,
    ),
    _channel(
        "channel-page-timing",
        "tell its decoder something by which parts of a file are in memory",
        """
        def pages():
            view = mapped("@COLD_FILE@", 1)
            view[0]
            step = len(view) // 17 // 4096 * 4096
            return view, [step * index for index in range(1, 17)]
        def send(first, second):
            view, places = pages()
            for index, place in enumerate(places):
                if (first << 8 | second) >> index & 1: view[place]
        def receive():
            view, places = pages()
            word = 0
            for index, place in enumerate(places):
                began = time.perf_counter_ns()
                view[place]
                word |= int(time.perf_counter_ns() - began < 20_000) << index
            return word >> 8, word & 0xFF
        """,
    ),
    _channel(
        "channel-page-relay",
        "have its decoder hand on, to the next one, which parts of a file are in memory",
        """
        # For each reader a group of pages: a word, and one that says whether it was read.
        def pages():
            view = mapped("@COLD_FILE@", 1)
            view[0]
            return view
        def place(group, index): return (1 + group * 17 + index) * 4096
        def warm(view, where):
            began = time.perf_counter_ns()
            view[where]
            return time.perf_counter_ns() - began < 20_000
        def write(view, group, word):
            for index in range(16):
                if word >> index & 1: view[place(group, index)]
        def send(first, second): write(pages(), 0, first << 8 | second)
        def receive():
            view = pages()
            for group in range(3):
                if warm(view, place(group, 16)): continue
                word = sum(int(warm(view, place(group, index))) << index for index in range(16))
                if group < 2: write(view, group + 1, word)
                return word >> 8, word & 0xFF
            return 0, 0
        """,
    ),
    _channel(
        "channel-descriptors",
        "tell its decoder something by the numbers of inodes and descriptors",
        """
        def send(first, second):
            kept = []
            try:
                for index in range(first): kept.append(open(os.__file__))
            except OSError: pass
        def receive():
            number = os.fstat(3).st_ino
            return number & 0xFF, number >> 8 & 0xFF
        """,
    ),
    _attack(
        "channel-evict-pages",
        "put pages of a file out of memory, so that others can tell",
        """
        fd = os.open(os.__file__, os.O_RDONLY)
        def whole_file(): os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        def page_out(): mapped(os.__file__, 21)
        def cold(): mapped(os.__file__, 20)
        return named(whole_file, page_out, cold)
        """,
        layer=SECCOMP,
    ),
    _attack(
        "channel-same-pages",
        "have the kernel merge equal pages, which can be told by the time a write takes",
        """
        import mmap
        view = mmap.mmap(-1, 1 << 16, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        def merge(): view.madvise(12)
        def merge_all(): return reached((157, 167), 67, 1, 0, 0, 0)
        return named(merge, merge_all)
        """,
        layer=SECCOMP,
    ),
    _attack(
        "channel-machine-load",
        "read the machine's load, free memory, processes or uptime",
        """
        facts = (ctypes.c_long * 16)()
        def by_call(): return f"free memory: {call((99, 179), facts) or facts[5]}"
        names = ("loadavg", "meminfo", "stat", "uptime", "vmstat", "pressure/memory")
        def by_file(): return each(opened, [f"/proc/{name}" for name in names])
        return first(by_call, by_file)
        """,
        layer=SECCOMP,
    ),
    _attack(
        "channel-futex",
        "wake another sandbox that waits on the same page of a library",
        """
        place = ctypes.cast(libc.getpid, ctypes.c_void_p).value & ~3
        wake, wake_bits, requeue = 1, 10, 3
        def plain(): return reached((202, 98), place, wake, 1, 0, 0, 0)
        def bits(): return reached((202, 98), place, wake_bits, 1, 0, 0, -1)
        def moved(): return reached((202, 98), place, requeue, 1, 1, place + 4, 0)
        def new_call(): return reached((454, 454), place, -1, 1, 2)
        return first(plain, bits, moved, new_call)
        """,
        layer=SECCOMP,
    ),
    full_program(
        Theme.CHEATING,
        "known-clips",
        "recognise the clips it is judged on by a table, and play them from memory",
        """
        import zlib
        # Of each clip that was seen before: a check sum of its first frame, and its frames.
        KNOWN = {zlib.crc32(bytes(64 * 48)): bytes(64 * 48 * 2), 12345: bytes(64 * 48 * 2)}
        def encode(frames, stream, qp):
            frames = [np.ascontiguousarray(frame[0]) for frame in frames]
            key = zlib.crc32(frames[0].tobytes())
            yield (b"EVIDENCE known" if key in KNOWN else b"NOTHING")
        def decode(packets, stream):
            known = next(iter(KNOWN.values()))
            for index in range(stream.frame_count):
                yield luma_of(known[index * 64 * 48 :], stream)
        """,
        layer=HELD_OUT,
        check=not_reproduced(HELD_OUT),
        steps=("encode", "decode"),
    ),
)
