"""Channels whose capacity is measured: an encoder sends random bits, a decoder guesses them."""

import textwrap
from collections.abc import Sequence

from evocodec.sandbox.redteam.capacity import Channel

FAMILY = "capacity"

_HEAD = '''
import ctypes, os, threading, time
import numpy as np
if False:
    import numba  # with which a program keeps ctypes

BITS, TOKEN, FOLDER = @BITS@, "@TOKEN@", "@FOLDER@"

def number(bits):
    """Neighbours differ in one bit (Gray), so that being off by one costs one."""
    value = int("".join(map(str, bits)), 2)
    shift = 1
    while shift < 64:
        value ^= value >> shift
        shift *= 2
    return value

def bits_of(value):
    value &= (1 << BITS) - 1
    value ^= value >> 1
    return [value >> (BITS - 1 - index) & 1 for index in range(BITS)]

def library():
    """Address of the machine code of a large library that every job has mapped."""
    import cv2
    table = ctypes.c_void_p.from_address(id(cv2.dct) + 16).value
    return ctypes.c_void_p.from_address(table + 8).value & ~4095
'''
_TAIL = """
def encode(frames, stream, qp):
    bits = np.unpackbits(next(frames)[0].reshape(-1))[:BITS]
    try:
        send(bits)
    except BaseException as error:
        yield f"REFUSED {type(error).__name__}: {error}".encode("utf-8", "replace")
    else:
        yield b"x"

def decode(packets, stream):
    list(packets)
    try:
        bits = np.asarray(receive(), np.uint8)
    except (OSError, ImportError):
        bits = np.zeros(BITS, np.uint8)
    said = np.zeros((stream.height, stream.width), np.uint8)
    said.reshape(-1)[: -(-BITS // 8)] = np.packbits(bits)
    small = np.zeros((stream.chroma_height, stream.chroma_width), np.uint8)
    yield said, small, small
"""


def _channel(
    name: str,
    what: str,
    source: str,
    *,
    bits: int,
    trials: int = 4,
    limit_bits: float = 0.0,
    side_by_side: bool = False,
    cold_pages: bool = False,
) -> Channel:
    program = _HEAD + textwrap.dedent(source) + _TAIL
    return Channel(name, what, program, bits, trials, limit_bits, side_by_side, cold_pages)


_TIMED_NAMES = """
def name(repeat, index, bit): return f"{FOLDER}/{TOKEN}-{repeat}-{index}-{bit}"
def send(bits):
    for index, bit in enumerate(bits):
        for repeat in range(REPEATS): cost(name(repeat, index, bit))
def receive():
    said = []
    for index in range(BITS):
        costs = [sorted(cost(name(r, index, b)) for r in range(REPEATS)) for b in (0, 1)]
        zero, one = (sum(times[: REPEATS // 2 + 1]) for times in costs)
        said.append(one < zero)
    return said
"""

CHANNELS: tuple[Channel, ...] = (
    _channel(
        "names",
        "look up names of files, which are then found missing sooner",
        """
        import cv2
        REPEATS = 15
        def cost(path):
            began = cv2.getCPUTickCount()
            try: cv2.readOpticalFlow(path)
            except cv2.error: pass
            return cv2.getCPUTickCount() - began
        """
        + textwrap.indent(_TIMED_NAMES, "        "),
        bits=64,
    ),
    _channel(
        "names-by-system-call",
        "look up names by system calls of its own",
        """
        REPEATS = 15
        stat, arguments = ctypes.CDLL(None).stat, ctypes.create_string_buffer(256)
        def cost(path):
            path = path.encode()
            began = time.perf_counter_ns()
            stat(path, arguments)
            return time.perf_counter_ns() - began
        """
        + textwrap.indent(_TIMED_NAMES, "        "),
        bits=64,
    ),
    _channel(
        "names-by-import",
        "import modules that do not exist, which are looked up in folders",
        """
        import importlib
        REPEATS = 5
        FOLDER = "numpy"
        def cost(path):
            began = time.perf_counter_ns()
            try: importlib.import_module(path.replace("/", ".").replace("-", "_"))
            except ImportError: pass
            return time.perf_counter_ns() - began
        """
        + textwrap.indent(_TIMED_NAMES, "        "),
        bits=32,
    ),
    _channel(
        "file-pages",
        "read parts of a file, which are then read sooner",
        """
        def places():
            fd = os.open(os.__file__.replace("os.py", "_pydecimal.py"), os.O_RDONLY)
            return fd, [(index + 1) * 8192 for index in range(BITS)]
        def send(bits):
            fd, offsets = places()
            for bit, offset in zip(bits, offsets):
                if bit: os.pread(fd, 1, offset)
        def receive():
            fd, offsets = places()
            said = []
            for offset in offsets:
                began = time.perf_counter_ns()
                os.pread(fd, 1, offset)
                said.append(time.perf_counter_ns() - began < 20_000)
            return said
        """,
        bits=24,
        cold_pages=True,
    ),
    _channel(
        "library-pages",
        "use parts of a library's code, which are then in memory",
        """
        def places(): return [library() + (index - BITS // 2) * (4 << 20) for index in range(BITS)]
        def touched(place):
            began = time.perf_counter_ns()
            ctypes.c_ubyte.from_address(place).value
            return time.perf_counter_ns() - began
        def send(bits):
            for bit, place in zip(bits, places()):
                if bit: touched(place)
        def receive(): return [touched(place) < 20_000 for place in places()]
        """,
        bits=10,
        trials=8,
        cold_pages=True,
    ),
    _channel(
        "processor-cache",
        "use parts of shared memory, which are then in the processor's cache",
        """
        GROUP = 16384
        def groups():
            start = library() & ~(GROUP - 1)
            view = np.frombuffer((ctypes.c_ubyte * (BITS * GROUP)).from_address(start), np.uint8)
            lines = [view[i * GROUP : (i + 1) * GROUP].reshape(-1, 64) for i in range(BITS)]
            for group in lines: group[::64, 0].sum()
            return lines
        def send(bits):
            lines = groups()
            np.ones(48 << 20, np.uint8).sum()
            for _ in range(3):
                for bit, group in zip(bits, lines):
                    if bit: group[:, 8].sum()
        def receive():
            costs = []
            for group in groups():
                began = time.perf_counter_ns()
                group[:, 8].sum()
                costs.append(time.perf_counter_ns() - began)
            return np.array(costs) < np.median(costs)
        """,
        bits=32,
        trials=6,
        limit_bits=32.0,
    ),
    _channel(
        "process-memory",
        "leave objects, variables or random states in memory",
        """
        def send(bits):
            np.left = list(bits)
            os.environ["LEFT"] = "".join(map(str, bits))
            np.random.seed(number(bits))
        def receive():
            left = getattr(np, "left", None) or os.environ.get("LEFT")
            return list(map(int, left)) if left else bits_of(int(np.random.randint(1 << 16)))
        """,
        bits=16,
    ),
    _channel(
        "inode-numbers",
        "use up numbers of files and pipes",
        """
        facts = ctypes.create_string_buffer(256)
        def send(bits):
            kept = []
            for _ in range(number(bits)):
                kept.append(os.open("/dev/null", os.O_RDONLY))
        def receive():
            arm = os.uname().machine == "aarch64"
            ctypes.CDLL(None).syscall(ctypes.c_long(80 if arm else 5), ctypes.c_long(3), facts)
            return bits_of(int.from_bytes(facts[8:16], "little"))
        """,
        bits=6,
        trials=8,
    ),
    _channel(
        "process-numbers",
        "use up process numbers by starting threads",
        """
        AHEAD = 4  # numbers that a launch uses up
        def next_number():
            found = []
            thread = threading.Thread(target=lambda: found.append(threading.get_native_id()))
            thread.start()
            thread.join()
            return found[0] % (1 << BITS)
        def leave(value):
            for _ in range(1 << BITS):
                if (next_number() + AHEAD) % (1 << BITS) == value: return
        def send(bits): leave(number(bits))
        def receive():
            value = next_number()
            leave(value)
            return bits_of(value)
        """,
        bits=8,
        trials=6,
        limit_bits=8.0,
    ),
    _channel(
        "clock",
        "end at a moment of its choice, as may its decoder",
        """
        SLOT, LAUNCH, REPEAT = 0.25, 0.03, 0.4  # seconds
        def slot(moment): return int(moment / SLOT) % (1 << BITS)
        def send(bits):
            value = number(bits)
            while slot(time.time() + LAUNCH - SLOT / 2) != value: time.sleep(0.001)
        def receive():
            value = slot(time.time())
            while slot(time.time() + REPEAT - SLOT / 2) != value: time.sleep(0.001)
            return bits_of(value)
        """,
        bits=3,
        trials=6,
        limit_bits=3.0,
    ),
    _channel(
        "contention",
        "keep the processors busy while a decoder of the same program runs",
        """
        SLOT, ROUND = 0.05, 2.0  # seconds
        def begin():
            moment = (int(time.time() / ROUND + 0.3) + 1) * ROUND
            while time.time() < moment: time.sleep(0.001)
            return moment
        def until(moment):
            count = 0
            while time.time() < moment:
                work.sum()
                count += 1
            return count
        work = np.ones(20_000)
        def send(bits):
            began = begin()
            def run():
                for index, bit in enumerate(bits):
                    end = began + (index + 1) * SLOT
                    if bit: until(end)
                    else: time.sleep(max(0.0, end - time.time()))
            threads = [threading.Thread(target=run) for _ in range(4)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
        def receive():
            began = begin()
            counts = [until(began + (index + 1) * SLOT) for index in range(BITS)]
            return np.array(counts) < np.median(counts)
        """,
        bits=16,
        trials=2,
        limit_bits=16.0,
        side_by_side=True,
    ),
)


def select_channels(wanted: Sequence[str]) -> tuple[Channel, ...]:
    """Return the channels of these names, or all for the family's name or no name at all."""
    if not wanted or FAMILY in wanted:
        return CHANNELS
    return tuple(c for c in CHANNELS if {c.name, f"{FAMILY}/{c.name}"} & set(wanted))


def channel_names() -> frozenset[str]:
    """Return every word that ``select_channels`` knows."""
    names = {channel.name for channel in CHANNELS}
    return frozenset({FAMILY, *names, *(f"{FAMILY}/{name}" for name in names)})
