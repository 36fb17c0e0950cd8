"""Attack programs: helpers around an attack's few lines, and a channel for its evidence."""

import re
import textwrap

from evocodec.domain.vocabulary import Layer
from evocodec.sandbox.policy import Limits
from evocodec.sandbox.redteam.attack import SMALL_LIMITS, Attack, AttackCheck, Operation, Theme
from evocodec.sandbox.redteam.checks import no_success, not_reproduced

_PRELUDE = '''\
import errno, os, re, sys, time
import ctypes
import numpy as np
if False:
    import numba  # with which a program keeps ctypes: what lies below it is to be attacked

TOKEN = "@TOKEN@"
ARM = os.uname().machine == "aarch64"
libc = ctypes.CDLL(None, use_errno=True)

def checked(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result

def call(numbers, *arguments):
    """A raw system call; ``numbers`` are those of x86-64 and aarch64."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return checked(libc.syscall(ctypes.c_long(numbers[ARM]), *words))

def reached(numbers, *arguments):
    """Evidence when the kernel looks at the call at all, whatever it then says to its arguments."""
    try:
        return f"call {numbers[ARM]} gave {call(numbers, *arguments)}"
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EACCES):
            raise
        return f"call {numbers[ARM]} was looked at: {error}"

SCRATCH = os.environ.get("TMPDIR", "/tmp")
CANARY = "EVOCODEC_REDTEAM" + "_CANARY"

class Loot(bytes):
    """Something found that is worth showing; only the judge knows whether a secret is in it."""

def opened(name):
    """Evidence that a file can be read; never what is in it: it may be somebody's."""
    os.close(os.open(name, os.O_RDONLY))
    return f"opened {name}"

def listed(name):
    """Evidence that a folder can be listed; not the names in it."""
    return f"{len(os.listdir(name))} names in {name}"

def mapped(name, advice):
    """A file's bytes in memory, with advice to the kernel on its pages."""
    fd, size = os.open(name, os.O_RDONLY), os.stat(name).st_size
    libc.mmap.restype = ctypes.c_void_p
    place = libc.mmap(None, ctypes.c_size_t(size), 1, 2, fd, ctypes.c_long(0))
    checked(libc.madvise(ctypes.c_void_p(place), ctypes.c_size_t(size), advice))
    return (ctypes.c_ubyte * size).from_address(place)

def first(*attempts):
    """The first attempt's evidence; the last one's refusal when none succeeds."""
    refusal, evidence = None, None
    for attempt in attempts:
        try:
            evidence = attempt()
        except BaseException as error:
            refusal = error
        if evidence is not None:
            return evidence
    if refusal is not None:
        raise refusal
    return None

def each(attempt, items):
    """The evidence of the first item with which the attempt succeeds."""
    return first(*(lambda item=item: attempt(item) for item in items))

def named(*attempts):
    """The name of the first attempt that is not refused, if it has no better evidence."""
    return each(lambda attempt: attempt() or attempt.__name__, attempts)

def told(attempt, *arguments):
    try:
        evidence = attempt(*arguments)
    except BaseException as error:
        code = getattr(error, "errno", None)
        name = errno.errorcode.get(code, "-")
        return f"REFUSED {type(error).__name__} {name} {error}".encode("utf-8", "replace")[:900]
    if evidence is None:
        return b"NOTHING"
    if isinstance(evidence, Loot):
        return b"LOOT " + evidence
    return b"EVIDENCE " + (evidence if isinstance(evidence, bytes) else str(evidence).encode())

def frame_of(text, stream):
    y = np.zeros((stream.height, stream.width), np.uint8)
    flat = np.frombuffer(text[: y.size], np.uint8)
    y.reshape(-1)[: flat.size] = flat
    c = np.zeros((stream.chroma_height, stream.chroma_width), np.uint8)
    return y, c, c

def luma_of(data, stream):
    c = np.zeros((stream.chroma_height, stream.chroma_width), np.uint8)
    size = stream.width * stream.height
    return np.frombuffer(data[:size], np.uint8).reshape(stream.height, stream.width), c, c
'''
_ENCODES = """
def encode(frames, stream, qp):
    yield told(attack)

def decode(packets, stream):
    for index in range(stream.frame_count):
        yield frame_of(b"", stream)
"""
_BARE = """
def encode(frames, stream, qp):
    yield attack()

def decode(packets, stream):
    yield from ()
"""
_DECODES = """
def encode(frames, stream, qp):
    yield b"x"

def decode(packets, stream):
    text = told(attack)
    for index in range(stream.frame_count):
        yield frame_of(text, stream)
"""
_SMUGGLES = """
def encode(frames, stream, qp):
    data = b"".join(frame[0].tobytes() for frame in frames)
    yield told(hide, data)

def decode(packets, stream):
    size = stream.width * stream.height
    try:
        data = find(stream)
    except BaseException:
        data = None
    data = data or bytes(size * stream.frame_count)
    for index in range(stream.frame_count):
        yield luma_of(data[index * size :], stream)
"""


def full_program(
    theme: Theme,
    name: str,
    what: str,
    source: str,
    *,
    layer: str,
    check: AttackCheck,
    steps: tuple[Operation, ...] = ("encode",),
    limits: Limits = SMALL_LIMITS,
    afterwards: bool = False,
) -> Attack:
    """Return an attack that is a complete candidate; helpers are put before it."""
    source = textwrap.dedent(source)
    return Attack(
        name=name,
        theme=theme,
        what=what,
        program=_PRELUDE + source,
        check=check,
        layer=layer,
        steps=steps,
        limits=limits,
        afterwards=afterwards,
        for_the_gate=_imports_of(source) + source,
    )


def attempt(
    theme: Theme,
    name: str,
    what: str,
    body: str,
    *,
    layer: str,
    operation: Operation = "encode",
    steps: tuple[Operation, ...] = (),
    check: AttackCheck | None = None,
    limits: Limits = SMALL_LIMITS,
    documented_without: tuple[Layer, ...] = (),
) -> Attack:
    """Return an attack whose ``body`` returns evidence of success, returns None, or raises."""
    function = "def attack():\n" + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    frame = _ENCODES if operation == "encode" else _DECODES
    return Attack(
        name=name,
        theme=theme,
        what=what,
        program=_PRELUDE + function + "\n" + frame,
        check=check or no_success(layer),
        layer=layer,
        steps=steps or (operation,),
        limits=limits,
        documented_without=documented_without,
        for_the_gate=_imports_of(function) + function + _BARE,
    )


def smuggling(theme: Theme, name: str, what: str, body: str, *, layer: str) -> Attack:
    """Return an attack whose encoder ``hide``s its clip where its decoder might ``find`` it."""
    return Attack(
        name=name,
        theme=theme,
        what=what,
        program=_PRELUDE + textwrap.dedent(body) + _SMUGGLES,
        check=not_reproduced(layer),
        layer=layer,
        steps=("encode", "decode"),
        for_the_gate=_imports_of(body)
        + textwrap.dedent(body)
        + _BARE.replace("attack()", "hide(b'')"),
    )


def _imports_of(source: str) -> str:
    """Return the import lines that ``source`` needs without the helpers."""
    identifiers = set(re.findall(r"\w+", source))
    needed = [
        name for name in ("errno", "os", "re", "sys", "time", "ctypes") if name in identifiers
    ]
    if identifiers & {"call", "reached", "libc", "mapped"} and "ctypes" not in needed:
        needed.append("ctypes")
    if identifiers & {"opened", "listed", "SCRATCH"} and "os" not in needed:
        needed.append("os")
    return "".join(f"import {name}\n" for name in needed) + "import numpy as np\n"
