"""Attacks on the scratch folder: past its limits, out of it, or past the end of its job.

In a mode without a scratch folder they try the usual path, and must not get in.
"""

from dataclasses import replace
from functools import partial

from evocodec.sandbox.policy import MEBIBYTE
from evocodec.sandbox.redteam.attack import SMALL_LIMITS, Theme
from evocodec.sandbox.redteam.checks import LANDLOCK, RLIMITS, SCRATCH, SECCOMP
from evocodec.sandbox.redteam.programs import attempt, smuggling

_BYTES, _INODES = SMALL_LIMITS.scratch_bytes, SMALL_LIMITS.scratch_inodes
_TIGHT = replace(SMALL_LIMITS, memory_bytes=64 * MEBIBYTE)

_attack = partial(attempt, Theme.FILES)

ATTACKS = (
    _attack(
        "scratch-by-bytes",
        "write more to its scratch than allowed, in many files, or in files without a name",
        f"""
        names = [f"{{SCRATCH}}/{{index}}-{{TOKEN}}" for index in range(100)]
        total, held, refusal = 0, [], None
        try:
            for name in names:
                held.append(open(name, "wb", 0))
                if len(held) % 2: os.unlink(name)
                total += held[-1].write(bytes(1 << 20))
        except OSError as error:
            refusal = error
        for name in names:
            if os.path.exists(name): os.unlink(name)
        if total > {_BYTES}: return f"wrote {{total}} bytes"
        raise refusal
        """,
        layer=SCRATCH,
    ),
    _attack(
        "scratch-by-inodes",
        "make more files or folders in its scratch than allowed",
        f"""
        names = [f"{{SCRATCH}}/{{index}}-{{TOKEN}}" for index in range(20000)]
        made, refusal = 0, None
        try:
            for name in names:
                open(name, "w").close()
                made += 1
        except OSError as error:
            refusal = error
        for name in names[:made]: os.unlink(name)
        if made > {_INODES}: return f"made {{made}} files"
        raise refusal
        """,
        layer=SCRATCH,
    ),
    _attack(
        "scratch-by-depth",
        "nest folders until nobody can remove them",
        f"""
        path, refusal, depth = f"{{SCRATCH}}/{{TOKEN}}", None, 0
        try:
            while depth < 5000:
                os.mkdir(path)
                path, depth = path + "/d", depth + 1
        except OSError as error:
            refusal = error
        for _ in range(depth):
            path = path[:-2] if path.endswith("/d") else path
            os.rmdir(path)
        if depth > {_INODES}: return f"{{depth}} deep"
        raise refusal
        """,
        layer=SCRATCH,
    ),
    _attack(
        "scratch-by-holes",
        "pretend to a huge file, or reserve space without writing",
        f"""
        fd = os.open(f"{{SCRATCH}}/{{TOKEN}}", os.O_RDWR | os.O_CREAT)
        os.unlink(f"{{SCRATCH}}/{{TOKEN}}")
        def sparse(): os.ftruncate(fd, 1 << 40)
        def reserve(): os.posix_fallocate(fd, 0, {_BYTES + MEBIBYTE})
        def keep_size(): call((285, 47), fd, 1, 0, {_BYTES + MEBIBYTE})
        def far(): os.pwrite(fd, b"x", {_BYTES})
        return named(sparse, reserve, keep_size, far)
        """,
        layer=RLIMITS,
    ),
    _attack(
        "scratch-as-memory",
        "keep memory in mapped files beyond what it is allowed",
        f"""
        import mmap
        fd = os.open(f"{{SCRATCH}}/{{TOKEN}}", os.O_RDWR | os.O_CREAT)
        os.unlink(f"{{SCRATCH}}/{{TOKEN}}")
        kept, maps, total, refusal = [], [], 0, None
        try:
            while total < 1 << 30:
                os.ftruncate(fd, total + (1 << 20))
                maps.append(mmap.mmap(fd, 1 << 20, offset=total))
                maps[-1][:] = bytes(1 << 20)
                total += 1 << 20
        except (OSError, ValueError) as error:
            refusal = error
        try:
            while total < 1 << 30:
                kept.append(np.ones(1 << 20, np.uint8))
                total += 1 << 20
        except MemoryError as error:
            refusal = error
        if total > {_TIGHT.memory_bytes + _TIGHT.scratch_bytes}: return f"kept {{total}} bytes"
        raise refusal
        """,
        layer=RLIMITS,
        limits=_TIGHT,
    ),
    _attack(
        "scratch-next-candidate",
        "leave something in its scratch for the next candidate",
        """
        path = f"{SCRATCH}/state-{TOKEN}"
        if os.path.exists(path):
            os.unlink(path)
            return "found what the job before left"
        with open(path, "w") as file: file.write("left")
        """,
        layer=SCRATCH,
        steps=("encode", "encode"),
    ),
    _attack(
        "scratch-database",
        "collect knowledge over many jobs in a database in its scratch",
        """
        import sqlite3
        path = f"{SCRATCH}/known-{TOKEN}.db"
        known = os.path.exists(path)
        base = sqlite3.connect(f"file:{path}?nolock=1", uri=True)
        base.execute("create table if not exists clips (bits)")
        base.execute("insert into clips values (1)")
        base.commit()
        if known:
            os.unlink(path)
            return f"{base.execute('select count(*) from clips').fetchone()[0]} rows"
        """,
        layer=SCRATCH,
        steps=("encode", "encode"),
    ),
    smuggling(
        Theme.PERSISTENCE,
        "clip-by-scratch",
        "hand the clip to its decoder in the scratch",
        """
        def hide(data):
            with open(f"{SCRATCH}/clip-{TOKEN}", "wb") as file: file.write(data)
            return None
        def find(stream):
            with open(f"{SCRATCH}/clip-{TOKEN}", "rb") as file: data = file.read()
            os.unlink(f"{SCRATCH}/clip-{TOKEN}")
            return data
        """,
        layer=SCRATCH,
    ),
    _attack(
        "scratch-links",
        "lead out of its scratch by links, or bring files in by them",
        """
        mine = f"{SCRATCH}/{TOKEN}"
        def symbolic(): os.symlink("@SECRET_FILE@", mine); return open(mine).read()
        def bring_in(): os.link("@OPEN_FILE@", mine)
        def library(): os.link(np.__file__, mine)
        def send_out(): open(mine, "w").close(); os.link(mine, "@OPEN_FOLDER@/link")
        def twice(): open(mine, "w").close(); os.link(mine, mine + "2")
        try:
            return named(symbolic, bring_in, library, send_out, twice)
        finally:
            for name in (mine, mine + "2"):
                if os.path.lexists(name): os.unlink(name)
        """,
        layer=SECCOMP,
    ),
    _attack(
        "scratch-rename-over",
        "put a file of its own in the place of another, or take one",
        """
        mine = f"{SCRATCH}/{TOKEN}"
        def write():
            with open(mine, "w") as file: file.write("mine")
        def over(): write(); os.rename(mine, "@OPEN_FILE@")
        def take(): os.rename("@OPEN_FILE@", mine)
        def exchange(): write(); call((316, 276), -100, mine.encode(), -100, b"@OPEN_FILE@", 2)
        def the_folder(): os.rename("/scratch/tmp", "/scratch/moved")
        try:
            return named(over, take, exchange, the_folder)
        finally:
            if os.path.exists(mine): os.unlink(mine)
        """,
        layer=LANDLOCK,
    ),
    _attack(
        "scratch-special-files",
        "make pipes, sockets, devices, attributes or locks in its scratch",
        """
        mine = f"{SCRATCH}/{TOKEN}"
        def pipe(): os.mkfifo(mine)
        def device(): os.mknod(mine, 0o60600, os.makedev(8, 0))
        def nameless(): os.open(SCRATCH, os.O_TMPFILE | os.O_RDWR)
        def run_as_owner(): open(mine, "w").close(); os.chmod(mine, 0o4777)
        def attribute(): os.setxattr(SCRATCH, "user.x", b"1")
        def lock():
            import fcntl
            with open(mine, "w") as file: fcntl.flock(file, fcntl.LOCK_EX)
        try:
            return named(pipe, device, nameless, run_as_owner, attribute, lock)
        finally:
            if os.path.exists(mine): os.unlink(mine)
        """,
        layer=SECCOMP,
    ),
    _attack(
        "scratch-program",
        "run a program that it wrote to its scratch",
        """
        mine = f"{SCRATCH}/{TOKEN}"
        with open(mine, "wb") as file: file.write(b"#!/bin/sh\\necho run\\n")
        try:
            os.chmod(mine, 0o700)
        except OSError: pass
        def run(): os.execv(mine, [mine])
        def by_descriptor(): call((322, 281), os.open(mine, 0), b"", None, None, 0x1000)
        try:
            return named(run, by_descriptor)
        finally:
            os.unlink(mine)
        """,
        layer=SECCOMP,
    ),
    _attack(
        "scratch-library",
        "load a library, or machine code, that it wrote to its scratch",
        """
        import glob, mmap
        mine = f"{SCRATCH}/{TOKEN}.so"
        import sysconfig
        source = glob.glob(sysconfig.get_paths()["stdlib"] + "/lib-dynload/_bisect*.so")[0]
        with open(source, "rb") as file: code = file.read()
        with open(mine, "wb") as file: file.write(code)
        fd = os.open(mine, os.O_RDWR)
        run = mmap.PROT_READ | mmap.PROT_EXEC
        def load(): return f"loaded {ctypes.CDLL(mine)}"
        def mapped():
            private = mmap.mmap(fd, 4096, flags=mmap.MAP_PRIVATE, prot=run)
            return f"mapped {len(private)} bytes"
        def later():
            shared = mmap.mmap(fd, 4096)
            address = ctypes.addressof(ctypes.c_char.from_buffer(shared))
            checked(libc.mprotect(ctypes.c_void_p(address), 4096, run))
            return "made a mapping runnable"
        try:
            return first(load, mapped, later)
        except PermissionError as error:
            raise OSError(str(error)) from None  # by the mount, where there is a scratch
        finally:
            os.unlink(mine)
        """,
        layer=SCRATCH,
    ),
)
