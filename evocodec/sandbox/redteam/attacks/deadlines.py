"""Attacks on time limits: programs that try to run for longer than allowed."""

from dataclasses import replace
from functools import partial

from evocodec.domain.errors import FailureKind
from evocodec.sandbox.redteam.attack import ROOMY_LIMITS, Theme
from evocodec.sandbox.redteam.checks import (
    RLIMITS,
    SECCOMP,
    SUPERVISOR,
    blames_the_candidate,
    fails_with,
)
from evocodec.sandbox.redteam.programs import attempt

# A program is charged for its processor time and its sleep, not by the clock: on a busy machine a
# loop that looks at the clock would end before its limit.
_WALL = replace(ROOMY_LIMITS, wall_seconds=1.0, cpu_seconds=20)
_CPU = replace(ROOMY_LIMITS, wall_seconds=30, cpu_seconds=1)
_attack = partial(
    attempt,
    Theme.TIME,
    layer=SUPERVISOR,
    limits=_WALL,
    check=fails_with(FailureKind.TIMEOUT, layer=SUPERVISOR),
)

ATTACKS = (
    _attack(
        "python-loop",
        "loop in Python past the limit",
        """
        end = time.process_time() + 3
        while time.process_time() < end: pass
        return "ran 3 s under a limit of 1"
        """,
    ),
    _attack(
        "sleep",
        "sleep past the limit, using no processor time",
        """
        time.sleep(8)
        return "slept 8 s under a limit of 1"
        """,
    ),
    _attack(
        "native-loop",
        "stay in native code, where Python hears no signal",
        """
        end = time.process_time() + 3
        matrix = np.ones((900, 900))
        while time.process_time() < end: matrix @ matrix
        return "ran 3 s under a limit of 1"
        """,
    ),
    _attack(
        "one-long-call",
        "make one call of native code that does not return in time",
        """
        import hashlib
        began = time.monotonic()
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 12_000_000)
        return f"one call of {time.monotonic() - began:.1f} s"
        """,
    ),
    _attack(
        "ignore-signals",
        "ignore or block every signal",
        """
        import signal
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        end = time.process_time() + 3
        while time.process_time() < end: pass
        return "ran 3 s under a limit of 1"
        """,
    ),
    _attack(
        "ignore-cpu-limit",
        "ignore the signal that comes with the processor limit",
        """
        import signal
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        end = time.process_time() + 3
        while time.process_time() < end: pass
        return "ran 3 s of processor time under a limit of 1"
        """,
        limits=_CPU,
        layer=RLIMITS,
    ),
    _attack(
        "stop-itself",
        "stop itself, so that nobody waits for it in vain",
        """
        import signal
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(8)
        return "was not ended"
        """,
        layer=SECCOMP,
        check=blames_the_candidate(SECCOMP),
    ),
    _attack(
        "swallow-everything",
        "swallow every exception in a loop",
        """
        end = time.monotonic() + 8
        while time.monotonic() < end:
            try:
                time.sleep(0.05)
                raise KeyboardInterrupt
            except BaseException: continue
        return "slept 8 s under a limit of 1"
        """,
    ),
    _attack(
        "never-read-the-input",
        "hold its input back without reading or ending",
        """
        import threading
        lock = threading.Lock()
        lock.acquire()
        lock.acquire(timeout=8)
        return "waited 8 s under a limit of 1"
        """,
        operation="decode",
    ),
    _attack(
        "trickle",
        "keep the supervisor busy with a byte now and then",
        """
        end = time.monotonic() + 8
        os.write(4, b"\\x03" + (4000).to_bytes(4, "little"))
        while time.monotonic() < end:
            os.write(4, b"x")
            time.sleep(0.05)
        return "trickled for 8 s under a limit of 1"
        """,
    ),
    _attack(
        "timers",
        "set timers or alarms that act after the job",
        """
        import signal
        def alarm(): return signal.setitimer(signal.ITIMER_REAL, 9) and None or "set a timer"
        def posix(): return call((222, 107), 0, 0, (ctypes.c_int * 1)()) or "made a timer"
        def descriptor(): return call((283, 85), 1, 0)
        return first(alarm, posix, descriptor)
        """,
        check=None,
        limits=replace(ROOMY_LIMITS, wall_seconds=10, cpu_seconds=10),
    ),
)
