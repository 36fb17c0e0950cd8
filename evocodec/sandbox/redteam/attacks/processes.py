"""Attacks that start processes, or touch those of others."""

from dataclasses import replace
from functools import partial

from evocodec.sandbox.redteam.attack import ROOMY_LIMITS, Theme
from evocodec.sandbox.redteam.checks import RLIMITS, SECCOMP
from evocodec.sandbox.redteam.programs import attempt

_attack = partial(attempt, Theme.PROCESSES, layer=SECCOMP)
_FEW_THREADS = replace(ROOMY_LIMITS, wall_seconds=10, cpu_seconds=10, processes=16)

ATTACKS = (
    _attack(
        "fork",
        "start a process by fork",
        """
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return f"process {pid}"
        """,
    ),
    _attack(
        "raw-clone",
        "start a process by clone or clone3, past the C library",
        """
        def alive(numbers, *arguments):
            pid = call(numbers, *arguments)
            if pid == 0:
                os._exit(0)
            return f"process {pid}"
        block = (ctypes.c_uint64 * 11)()
        block[4] = 17
        return first(lambda: alive((56, 220), 17, 0, 0, 0, 0), lambda: alive((435, 435), block, 88))
        """,
    ),
    _attack(
        "exec",
        "replace itself by another program",
        """
        import subprocess
        return first(lambda: subprocess.run([sys.executable, "-c", "print(1)"], check=True,
                                            stdout=subprocess.PIPE).stdout,
                     lambda: os.posix_spawn(sys.executable, ["python", "-V"], {}))
        """,
    ),
    _attack(
        "exec-in-place",
        "turn into a shell",
        """
        script = ": > @OPEN_FOLDER@/made-by-exec"
        os.execv("/bin/sh", ["sh", "-c", script])
        """,
    ),
    _attack(
        "daemon",
        "leave a process behind that outlives the job",
        """
        libc.prctl(15, TOKEN.encode(), 0, 0, 0)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.closerange(0, 64)
            time.sleep(8)
            os._exit(0)
        """,
    ),
    _attack(
        "fork-bomb",
        "start processes until the machine gives in",
        """
        libc.prctl(15, TOKEN.encode(), 0, 0, 0)
        for count in range(40):
            if os.fork() == 0:
                os.closerange(0, 64)
                time.sleep(6)
                os._exit(0)
        return f"{count} processes"
        """,
    ),
    _attack(
        "threads",
        "start threads without a limit",
        """
        import threading
        for count in range(400):
            threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
        time.sleep(1.0)
        return f"{count + 1} threads"
        """,
        layer=RLIMITS,
        limits=_FEW_THREADS,
    ),
    _attack(
        "kill-outside",
        "end a process outside",
        """
        os.kill(@VICTIM@, 15)
        return "sent a signal to @VICTIM@"
        """,
    ),
    _attack(
        "kill-the-server",
        "end the fork server, its parent, or its own group",
        """
        parent = os.getppid()
        tries = [lambda: os.kill(-1, 0) or "may signal everything"]
        tries += [lambda: os.kill(parent, 0) or f"may signal {parent}"] if parent else []
        tries += [lambda: os.killpg(parent, 0) or f"may signal group {parent}"] if parent else []
        return first(*tries)
        """,
    ),
    _attack(
        "signal-by-other-calls",
        "send signals by pidfd, sigqueue, tgkill or a descriptor's owner",
        """
        import fcntl
        pid = @VICTIM@
        def pidfd(): return call((424, 424), call((434, 434), pid, 0), 15, 0, 0)
        def queue(): return call((129, 138), pid, 15, (ctypes.c_char * 128)())
        def thread(): return call((200, 130), pid, 19)
        def group(): return call((234, 131), pid, pid, 19)
        def owner(): return fcntl.fcntl(4, fcntl.F_SETOWN, pid)
        return named(pidfd, queue, thread, group, owner)
        """,
    ),
    _attack(
        "ptrace",
        "trace another process",
        """
        targets = [@VICTIM@, os.getppid() or 1]
        return first(*(lambda pid=pid, how=how: f"traced {pid}: {call((101, 117), how, pid, 0, 0)}"
                       for pid in targets for how in (16, 0x4206)))
        """,
    ),
    _attack(
        "ptrace-me",
        "let itself be traced by its parent",
        "return call((101, 117), 0, 0, 0, 0) or 'traced'",
    ),
    _attack(
        "new-namespaces",
        "make namespaces, in which it would be root again",
        """
        flags = [0x10000000, 0x10000000 | 0x00020000, 0x40000000, 0x20000000, 0x02000000]
        return first(*(lambda f=f: f"unshared {f:x}: {call((272, 97), f)}" for f in flags),
                     lambda: call((56, 220), 0x10000011, 0, 0, 0, 0))
        """,
    ),
    _attack(
        "join-namespaces",
        "join the namespaces of another process",
        """
        return first(*(lambda name=name: call((308, 268), os.open(name, os.O_RDONLY), 0) or name
                       for name in ("/proc/@VICTIM@/ns/net", "/proc/1/ns/mnt")),
                     *(lambda fd=fd: call((308, 268), fd, 0) or fd for fd in range(8)))
        """,
    ),
    _attack(
        "mount",
        "mount, unmount or change its root",
        """
        def opened(): return f"a new file system, descriptor {call((430, 430), b'tmpfs', 0)}"
        def cloned(): return f"a copy of the root, descriptor {call((428, 428), -100, b'/', 1)}"
        def root(): return call((161, 51), b"/") or "changed its root"
        def mounted(): return reached((165, 40), b"none", b"/", b"nothing-such", 0, 0)
        def pivoted(): return reached((155, 41), b"/nowhere", b"/nowhere")
        return first(opened, cloned, root, mounted, pivoted)
        """,
    ),
    _attack(
        "become-root",
        "change its user or regain capabilities",
        """
        def user(): return call((105, 146), 0)
        def users(): return call((117, 147), 0, 0, 0)
        def groups(): return call((116, 159), 1, (ctypes.c_uint32 * 1)(0))
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        data = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
        def capabilities(): return call((126, 91), header, data)
        tries = (user, users, groups, capabilities)
        return named(*tries)
        """,
    ),
    _attack(
        "priority",
        "take precedence by priority, real-time scheduling or processor affinity",
        """
        def other(): return os.setpriority(os.PRIO_PROCESS, @VICTIM@, 19)
        def nice(): return os.setpriority(os.PRIO_PROCESS, 0, -10)
        def realtime(): return os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        def affinity(): return os.sched_setaffinity(0, os.sched_getaffinity(0))
        def io(): return call((251, 30), 1, 0, 1 << 13)
        tries = (other, nice, realtime, affinity, io)
        return named(*tries)
        """,
    ),
    _attack(
        "raise-own-limits",
        "raise the limits it was given",
        """
        import resource
        def raised(which):
            soft, hard = resource.getrlimit(which)
            if hard == resource.RLIM_INFINITY:
                return f"limit {which} is infinite"
            resource.setrlimit(which, (hard + 4096, hard + 4096))
            return f"limit {which}"
        limits = (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NOFILE)
        return each(lambda which: raised(which), limits)
        """,
        layer=RLIMITS,
    ),
    _attack(
        "core-dump",
        "have the kernel write its memory to a file, or to a handler outside",
        """
        import resource
        def limit(): return resource.getrlimit(resource.RLIMIT_CORE)[1] and "cores are on" or None
        def dumpable(): return call((157, 167), 4, 1, 0, 0, 0) or "made itself dumpable"
        return first(limit, dumpable)
        """,
        layer=RLIMITS,
    ),
    _attack(
        "outlive-the-parent",
        "undo that it dies with its parent, or adopt others' children",
        """
        def death(): return call((157, 167), 1, 0, 0, 0, 0) or "took the death signal away"
        def adopt(): return call((157, 167), 36, 1, 0, 0, 0) or "became a reaper"
        return first(death, adopt)
        """,
    ),
)
