"""Attacks on results that the trusted side reads: forged messages, wrong frames, false claims."""

from dataclasses import replace
from functools import partial

from evocodec.domain.errors import FailureKind
from evocodec.sandbox.policy import MEBIBYTE
from evocodec.sandbox.redteam.attack import ROOMY_LIMITS, SMALL_LIMITS, Attack, Theme
from evocodec.sandbox.redteam.checks import (
    FRAMING,
    SECCOMP,
    SUPERVISOR,
    blames_the_candidate,
    bounded_report,
    fails_with,
    no_effect,
    reports_true_quality,
)
from evocodec.sandbox.redteam.programs import attempt, full_program

_MALFORMED = (FailureKind.BAD_OUTPUT, FailureKind.OUTPUT_LIMIT)
_LIMITS = replace(
    SMALL_LIMITS,
    wall_seconds=15,
    cpu_seconds=15,
    output_bytes=2 * MEBIBYTE,
    stderr_bytes=8 * 1024,
)
_whole = partial(full_program, Theme.RESULTS, limits=_LIMITS)
_attack = partial(
    attempt,
    Theme.RESULTS,
    layer=FRAMING,
    limits=_LIMITS,
    check=fails_with(*_MALFORMED, layer=FRAMING),
)


def _frames(name: str, what: str, body: str) -> Attack:
    """Return a decoder whose frames come from ``body``, which yields."""
    lines = "\n".join("    " + line for line in body.splitlines())
    source = (
        'def encode(frames, stream, qp):\n    yield b"x"\n\n'
        "def decode(packets, stream):\n    y, c, _ = frame_of(b'', stream)\n" + lines + "\n"
    )
    return full_program(
        Theme.RESULTS,
        name,
        what,
        source,
        check=fails_with(*_MALFORMED, FailureKind.EXCEPTION, layer=FRAMING),
        layer=FRAMING,
        steps=("decode",),
        limits=_LIMITS,
    )


ATTACKS = (
    _attack(
        "unknown-message",
        "send a message of an unknown kind",
        'os.write(4, b"\\xff" * 64); time.sleep(0.2)',
    ),
    _attack(
        "gigantic-packet",
        "announce a packet of 4 GiB, so that the reader reserves it",
        'os.write(4, b"\\x03\\xff\\xff\\xff\\xff"); time.sleep(0.2)',
    ),
    _attack(
        "forged-frame",
        "deliver a frame where packets are due",
        'os.write(4, b"\\x04" + bytes(4)); time.sleep(0.2)',
    ),
    _attack(
        "second-ready",
        "announce once more, and with other layers, that the sandbox is ready",
        'os.write(4, b"\\x01\\x02\\x00\\x00\\x00{}"); time.sleep(0.2)',
    ),
    _attack(
        "forged-infrastructure-failure",
        "pass its own failure off as the laboratory's, to be tried again for ever",
        'os.write(4, b"\\x02\\x04\\x00\\x00\\x00oops"); time.sleep(0.2)',
    ),
    _attack(
        "enormous-error",
        "announce an error text of 16 MiB",
        'os.write(4, b"\\x06" + (1 << 24).to_bytes(4, "little")); time.sleep(0.2)',
    ),
    _attack(
        "half-a-message",
        "stop in the middle of a message",
        'os.write(4, b"\\x03\\x08\\x00\\x00\\x00abc"); os.close(4); os._exit(0)',
    ),
    _attack(
        "early-end",
        "end a decode before its frames",
        'os.write(4, b"\\x05\\x00\\x00\\x00\\x00"); time.sleep(0.2)',
        operation="decode",
    ),
    _attack(
        "frames-past-the-guest",
        "write more frames to the pipe than the stream has, past the guest's own checks",
        """
        one = b"\\x04" + (64 * 48 * 3 // 2).to_bytes(4, "little") + bytes(64 * 48 * 3 // 2)
        for _ in range(3): os.write(4, one)
        time.sleep(0.2)
        """,
        operation="decode",
    ),
    _attack(
        "doorbells",
        "announce more frames than the stream has, or none that were written",
        """
        try: from evocodec.guest.ring import DOORBELL
        except ImportError: DOORBELL = bytes(507)
        for _ in range(3): os.write(4, b"\\x04" + len(DOORBELL).to_bytes(4, "little") + DOORBELL)
        time.sleep(0.2)
        """,
        operation="decode",
    ),
    _attack(
        "frame-of-another-size",
        "write a frame of another size to the pipe",
        'os.write(4, b"\\x04\\x07\\x00\\x00\\x00" + bytes(7)); time.sleep(0.2)',
        operation="decode",
    ),
    _attack(
        "close-descriptors",
        "close all its pipes and stay",
        "os.closerange(0, 64)\ntime.sleep(2.5)",
        limits=replace(ROOMY_LIMITS, wall_seconds=1.0, cpu_seconds=10),
        check=fails_with(FailureKind.TIMEOUT, FailureKind.CRASH, layer=SUPERVISOR),
        layer=SUPERVISOR,
    ),
    _attack(
        "exit-as-if-done",
        "leave with exit code 0 and no result, as if it had succeeded",
        "os._exit(0)",
        check=fails_with(FailureKind.CRASH, layer=FRAMING),
    ),
    _attack(
        "be-killed-by-the-kernel",
        "have the kernel kill it, so that nobody but the machine can be blamed",
        """
        import resource
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
        end = time.process_time() + 3
        while time.process_time() < end: pass
        """,
        check=blames_the_candidate(SECCOMP),
        layer=SECCOMP,
    ),
    _attack(
        "kill-itself",
        "kill itself, so that nobody but the machine can be blamed",
        """
        os.kill(os.getpid(), 9)
        call((234, 131), os.getpid(), os.getpid(), 9)
        os.abort()
        """,
        check=blames_the_candidate(SUPERVISOR),
        layer=SUPERVISOR,
    ),
    _whole(
        "packet-flood",
        "deliver more bytes than allowed",
        "def encode(frames, stream, qp):\n    for _ in range(64):\n        yield bytes(1 << 20)\n"
        "def decode(packets, stream):\n    yield None\n",
        check=fails_with(FailureKind.OUTPUT_LIMIT, layer=SUPERVISOR),
        layer=SUPERVISOR,
        limits=_LIMITS,
    ),
    _whole(
        "packet-count-flood",
        "deliver empty packets without end",
        "def encode(frames, stream, qp):\n    for _ in range(50_000):\n        yield b''\n"
        "def decode(packets, stream):\n    yield None\n",
        check=fails_with(FailureKind.OUTPUT_LIMIT, layer=SUPERVISOR),
        layer=SUPERVISOR,
        limits=_LIMITS,
    ),
    _attack(
        "standard-error-flood",
        "flood what is kept of its standard error",
        """
        for _ in range(100): os.write(2, b"x" * (1 << 20))
        return "100 MiB of standard error"
        """,
        check=fails_with(FailureKind.OUTPUT_LIMIT, layer=SUPERVISOR),
        layer=SUPERVISOR,
    ),
    _whole(
        "hostile-exception",
        "break the report of its error by an exception with endless text or a failing one",
        "class Bad(Exception):\n"
        "    def __str__(self):\n        return chr(0) + '\\x1b[2J' * 9_000_000\n"
        "def encode(frames, stream, qp):\n    raise Bad\n    yield b''\n"
        "def decode(packets, stream):\n    yield None\n",
        check=bounded_report(64 * 1024),
        layer=FRAMING,
        limits=_LIMITS,
    ),
    _whole(
        "claimed-score",
        "have its own word for its quality taken",
        "def encode(frames, stream, qp):\n"
        '    yield b\'{"psnr_y_db": 99.0, "bits": 1, "adopted": true}\'\n'
        "def decode(packets, stream):\n"
        "    for _ in range(stream.frame_count):\n"
        "        yield frame_of(b'\"psnr_y_db\": 99.0', stream)\n",
        check=reports_true_quality(above_psnr_db=20.0),
        layer="scorer",
        steps=("encode", "decode"),
        limits=_LIMITS,
    ),
    _attack(
        "pickle-bomb",
        "have the trusted side unpickle or evaluate what it delivers",
        """
        import pickle
        class Bomb:
            def __reduce__(self): return open, ("@OPEN_FOLDER@/unpickled", "w")
        bomb = pickle.dumps(Bomb())
        os.write(4, b"\\x03" + len(bomb).to_bytes(4, "little") + bomb)
        """,
        check=no_effect(FRAMING),
    ),
    _frames("too-few-frames", "deliver fewer frames than the stream has", "yield y, c, c"),
    _frames(
        "too-many-frames",
        "deliver more frames than the stream has",
        "for _ in range(stream.frame_count + 1): yield y, c, c",
    ),
    _frames(
        "nan-frames",
        "deliver frames of NaN or infinity, with which every metric goes wrong",
        "for _ in range(stream.frame_count): yield y * np.nan, c * np.inf, c",
    ),
    _frames(
        "object-frames",
        "deliver arrays of a class that lies about its shape and type",
        "class Liar(np.ndarray):\n"
        "    shape = property(lambda self: (stream.height, stream.width))\n"
        "    dtype = property(lambda self: np.dtype(np.uint8))\n"
        "for _ in range(stream.frame_count): yield np.zeros((9, 9), np.float64).view(Liar), c, c",
    ),
)
