"""Attacks that leave data behind: for the next candidate, or for their own decoder."""

from functools import partial

from evocodec.sandbox.redteam.attack import HIDING_LAYERS, Theme
from evocodec.sandbox.redteam.checks import FRESH, HIDING, SECCOMP, healthy
from evocodec.sandbox.redteam.programs import attempt, full_program, smuggling

_twice = partial(attempt, Theme.PERSISTENCE, steps=("encode", "encode"))
_smuggle = partial(smuggling, Theme.PERSISTENCE)

_HEALTHY = """
def encode(frames, stream, qp):
    for frame in frames:
        yield b"".join(plane.tobytes() for plane in frame)

def decode(packets, stream):
    for packet in packets:
        yield luma_of(packet, stream)
"""

ATTACKS = (
    _twice(
        "module-state",
        "leave state in a module for the next candidate",
        """
        if hasattr(np, "evocodec_" + TOKEN):
            return "the module was changed by the job before"
        setattr(np, "evocodec_" + TOKEN, 1)
        """,
        layer=FRESH,
    ),
    _twice(
        "patched-guest",
        "change the code that serves the next candidate",
        """
        import builtins
        from evocodec.guest import wire
        if getattr(wire.write_packet, "mark", "") == TOKEN:
            return "the guest's code was changed by the job before"
        def evil(packet, _write=wire.write_packet): return _write(packet)
        evil.mark = TOKEN
        wire.write_packet = builtins.evil = evil
        """,
        layer=FRESH,
    ),
    _twice(
        "environment",
        "leave a variable in the environment",
        """
        if TOKEN in os.environ:
            return "the variable was set by the job before"
        os.environ[TOKEN] = "1"
        """,
        layer=FRESH,
    ),
    _twice(
        "random-state",
        "change the random numbers that the next candidate gets",
        """
        state = np.random.get_state()[1][:4].tolist()
        np.random.seed(int(TOKEN[:7], 16))
        mine = np.random.get_state()[1][:4].tolist()
        return "the seed was set by the job before" if state == mine else None
        """,
        layer=FRESH,
    ),
    _twice(
        "bytecode-cache",
        "plant code in a bytecode cache, in site-packages or beside a library",
        """
        import sysconfig
        from evocodec.guest import wire
        site = sysconfig.get_paths()["purelib"]
        names = [f"{os.path.dirname(wire.__file__)}/__pycache__/{TOKEN}.pyc",
                 f"{os.path.dirname(np.__file__)}/__pycache__/{TOKEN}.pyc", f"{site}/{TOKEN}.pth"]
        def plant(name):
            with open(name, "wb") as file: file.write(b"")
            os.unlink(name)
            return name
        return each(lambda name: plant(name), names)
        """,
        layer=SECCOMP,
    ),
    _twice(
        "numba-cache",
        "leave compiled code in numba's cache",
        """
        import numba
        os.environ["NUMBA_CACHE_DIR"] = "@OPEN_FOLDER@"
        numba.config.CACHE_DIR = "@OPEN_FOLDER@"
        import linecache
        @numba.njit(cache=True)
        def kept(value): return value + 1
        kept(1)
        return "cached" if kept.stats.cache_path else None
        """,
        layer=SECCOMP,
    ),
    _twice(
        "home-caches",
        "leave files in the caches of torch, numba, matplotlib or the home folder",
        """
        folders = {os.path.expanduser("~"), "/root", "/nonexistent", os.environ.get("HOME", "/")}
        def leave(folder):
            path = os.path.join(folder, f".cache-{TOKEN}")
            if os.path.exists(path):
                os.rmdir(path)
                return f"found {path} of the job before"
            os.mkdir(path)
        return each(lambda folder: leave(folder), folders)
        """,
        layer=SECCOMP,
    ),
    _twice(
        "kernel-objects",
        "leave a semaphore, a segment or a queue in the kernel",
        """
        key = int(TOKEN[:7], 16)
        semaphores, removal = (64, 190), (66, 191)
        try:
            found = call(semaphores, key, 1, 0)
        except OSError as error:
            if error.errno != errno.ENOENT: raise
            call(semaphores, key, 1, 0o1600)
        else:
            call(removal, found, 0, 0)
            return f"found semaphore {found} of the job before"
        """,
        layer=SECCOMP,
    ),
    _twice(
        "working-folder",
        "leave a file where the next candidate looks for modules",
        """
        import importlib
        name = "evil_" + TOKEN
        for folder in ("", *sys.path):
            if os.path.exists(os.path.join(folder, name + ".py")): return "found it"
        def write(folder):
            path = os.path.join(folder, name + ".py")
            with open(path, "w"): pass
            os.unlink(path)
            return f"wrote {path}"
        folders = ["", "@OPEN_FOLDER@", *sys.path]
        return each(lambda folder: write(folder), folders)
        """,
        layer=SECCOMP,
    ),
    _smuggle(
        "clip-by-file",
        "hand the clip to its decoder in a file",
        """
        folders = ("/tmp", "/dev/shm", "/var/tmp", "/scratch", "@OPEN_FOLDER@")
        def hide(data):
            def write(folder):
                with open(f"{folder}/clip-{TOKEN}", "wb") as file: file.write(data)
                return folder
            each(lambda folder: write(folder), folders)
        def find(stream):
            def read(folder):
                with open(f"{folder}/clip-{TOKEN}", "rb") as file: data = file.read()
                os.unlink(f"{folder}/clip-{TOKEN}")
                return data
            return each(lambda folder: read(folder), folders)
        """,
        layer=SECCOMP,
    ),
    _smuggle(
        "clip-by-segment",
        "hand the clip to its decoder in shared memory",
        """
        key, size = int(TOKEN[:7], 16), 64 * 48 * 2
        libc.shmat.restype = ctypes.c_void_p
        def hide(data):
            segment = call((29, 194), key, size, 0o1600)
            ctypes.memmove(libc.shmat(segment, None, 0), data, size)
        def find(stream):
            segment = call((29, 194), key, size, 0)
            data = ctypes.string_at(libc.shmat(segment, None, 0), size)
            call((31, 195), segment, 0, 0)
            return data
        """,
        layer=SECCOMP,
    ),
    _smuggle(
        "clip-by-daemon",
        "hand the clip to its decoder over a socket, from a process left behind",
        """
        import socket
        def hide(data):
            server = socket.socket(socket.AF_UNIX)
            server.bind("\\0clip-" + TOKEN)
            server.listen()
            if os.fork(): return
            os.setsid()
            os.closerange(0, server.fileno())
            server.settimeout(5)
            try: server.accept()[0].sendall(data)
            finally: os._exit(0)
        def find(stream):
            client = socket.socket(socket.AF_UNIX)
            client.connect("\\0clip-" + TOKEN)
            return client.makefile("rb").read()
        """,
        layer=SECCOMP,
    ),
    _smuggle(
        "clip-by-memory",
        "hand the clip to its decoder in memory that both have",
        """
        def hide(data):
            np.evocodec_clips = {**getattr(np, "evocodec_clips", {}), TOKEN: data}
            return None
        def find(stream):
            return np.evocodec_clips[TOKEN]
        """,
        layer=FRESH,
    ),
    _smuggle(
        "clip-in-transfer-buffers",
        "find the clip in the memory through which frames are handed over",
        """
        import mmap
        def hide(data):
            def write(fd):
                with mmap.mmap(fd, 0) as buffer: buffer[: len(data)] = data
            each(write, range(3, 64))
        def find(stream):
            size = stream.width * stream.height
            stride = size + 2 * stream.chroma_width * stream.chroma_height
            for fd in range(3, 64):
                try:
                    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as buffer: data = buffer[:]
                except (OSError, ValueError): continue
                if any(data):
                    return data[:size] + data[stride : stride + size].ljust(size, bytes(1))
            import gc
            for one in gc.get_objects():
                if type(one).__name__ == "Ring" and one._samples.any():
                    data = one._samples.tobytes()
                    return data[:size] + data[stride : stride + size].ljust(size, bytes(1))
        """,
        layer=FRESH,
    ),
    _smuggle(
        "clip-by-keyring",
        "hand the clip to its decoder in a kernel keyring",
        """
        def hide(data):
            call((248, 217), b"user", TOKEN.encode(), data[:4096], 4096, -4)
        def find(stream):
            key = call((249, 218), b"user", TOKEN.encode(), None, -4)
            buffer = ctypes.create_string_buffer(4096)
            size = call((250, 219), 11, key, buffer, 4096, 0)
            call((250, 219), 9, key, -4, 0, 0)
            return buffer.raw[:size] + bytes(64 * 48 * 2)
        """,
        layer=SECCOMP,
    ),
    _twice(
        "access-times",
        "hand bits to its decoder in the times at which files were last read",
        """
        bits = bytes.fromhex(TOKEN)[0] & 0x7F | 1
        wanted = [bits >> index & 1 for index in range(8)]
        import sysconfig
        base = os.path.join(sysconfig.get_paths()["stdlib"], "encodings")
        names = [f"{base}/cp{code}.py" for code in (1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257)]
        def seen(name):
            return os.stat(name).st_atime_ns
        before = [seen(name) for name in names]
        recent = time.time_ns() - 5_000_000_000
        if [int(moment > recent) for moment in before] == wanted:
            return f"the job before sent {wanted}"
        for index, name in enumerate(names):
            if wanted[index]:
                with open(name, "rb") as file: file.read()
        """,
        layer=HIDING,
        documented_without=HIDING_LAYERS,
    ),
    _twice(
        "page-cache",
        "ask which pages of a file are in memory, which tells what was read before",
        """
        import sysconfig
        fd = os.open(os.path.join(sysconfig.get_paths()["stdlib"], "this.py"), os.O_RDONLY)
        vector = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.create_string_buffer(9)), 9)
        def without_waiting(): return reached((327, 286), fd, vector, 1, 0, 0, 8)
        def resident(): return reached((27, 232), 0, 0, 0)
        def cached(): return reached((451, 451), fd, 0, 0, 0)
        return first(without_waiting, resident, cached)
        """,
        layer=SECCOMP,
    ),
    full_program(
        Theme.PERSISTENCE,
        "afterwards-honest-candidate",
        "harm an honest candidate that runs after all the others",
        _HEALTHY,
        check=healthy(),
        layer=FRESH,
        steps=("encode", "decode"),
        afterwards=True,
    ),
)
