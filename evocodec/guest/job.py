"""One encode or decode in the sandbox: compiles the program, runs it, reports what it raised."""

import contextlib
import errno
import faulthandler
import linecache
import random
import sys
import traceback
import types
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, TypeVar

from evocodec.domain.video import Frame, StreamInfo
from evocodec.guest import native_calls, program_imports, wire
from evocodec.guest.framing import Tag
from evocodec.guest.ring import Ring
from evocodec.isolation import resident_libraries
from evocodec.isolation.path_lock import PathLock

PROGRAM_NAME = "candidate.py"
ERROR_KINDS = ("exception", "memory", "forbidden", "bad_output")
MESSAGE_CHARACTERS = 2_000
TRACEBACK_CHARACTERS = 6_000
_OPENCV_NO_MEMORY = -4
_REPORTING_BYTES = 2 << 20

T = TypeVar("T")
Encode = Callable[[Iterator[Frame], StreamInfo, float], Iterable[object]]
Decode = Callable[[Iterator[bytes], StreamInfo], Iterable[object]]


def run(
    operation: str,
    source: bytearray,
    stream: StreamInfo,
    qp: float,
    ring: Ring,
    native: Collection[str],
    path_lock: PathLock | None,
) -> None:
    """Run ``encode`` or ``decode``; an exception of the program becomes an ERROR message.

    Its imports are loaded first; then ``path_lock`` is closed, and STARTED is sent before its first
    line runs. None leaves paths open. A program may use ctypes only if it imports one of the
    libraries in ``native``.
    """
    random.seed(0)  # Python reseeds it from the system in every forked child
    faulthandler.enable(file=2, all_threads=False)
    ballast = bytearray(_REPORTING_BYTES)
    wire.write_message(Tag.ENTERED)
    prepare = _attempt(lambda: _prepare(bytes(source), close_imports=path_lock is not None))
    if not _start(path_lock):
        return
    try:
        program, code = prepare()
        if not native_calls.needed_by(program, native):
            native_calls.remove()
        encode, decode = load(program, code)
        if operation == "encode":
            for packet in encode(wire.read_frames(stream, ring), stream, qp):
                wire.write_packet(packet)
        else:
            for index, frame in enumerate(decode(wire.read_packets(), stream)):
                wire.write_frame(frame, index, stream, ring)
    except BaseException as error:  # noqa: BLE001 - the process edge: everything is reported
        ballast.clear()  # room to report that there is no room
        report = describe_error(error)
        _flush()
        wire.write_message(Tag.ERROR, report)
    else:
        _flush()
        wire.write_message(Tag.END)


def run_nothing(path_lock: PathLock | None) -> None:
    """Run no program, but everything before its first line; to find out which layers there are."""
    wire.write_message(Tag.ENTERED)
    if _start(path_lock):
        wire.write_message(Tag.END)


def _start(path_lock: PathLock | None) -> bool:
    """Lock paths and send STARTED; False if the lock failed, which is no fault of the program's."""
    if path_lock is not None:
        try:
            path_lock.close()
        except OSError as error:  # the supervisor believes it, since nothing has run yet
            wire.write_message(Tag.SETUP_FAILED, f"paths cannot be locked: {error}".encode())
            return False
    wire.write_message(Tag.STARTED)
    return True


def _attempt(action: Callable[[], T]) -> Callable[[], T]:
    """Run ``action`` now; the returned function returns what it returned, or raises its error."""
    try:
        result = action()
    except BaseException as error:  # noqa: BLE001 - raised again, where it is reported
        failure = error

        def fail() -> T:
            raise failure

        return fail
    return lambda: result


def _prepare(source: bytes, *, close_imports: bool) -> tuple[str, types.CodeType]:
    """Compile the program and load what it imports; nothing of it runs."""
    program = source.decode("utf-8")
    code = _compile(program)
    closed = program_imports.load(code, program)
    if close_imports:
        resident_libraries.read_all(keep_mapped=False)
        sys.meta_path.insert(0, closed)
    return program, code


def _flush() -> None:
    """Flush output before the last message: the supervisor ends the process when it has that."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()


def _compile(source: str) -> types.CodeType:
    return compile(source, PROGRAM_NAME, "exec", dont_inherit=True)


def load(source: str, code: types.CodeType | None = None) -> tuple[Encode, Decode]:
    """Execute the program in a new module, and return its two functions.

    ``code``: the program, if it is compiled already.
    """
    module = types.ModuleType("candidate")
    module.__file__ = PROGRAM_NAME
    sys.modules[module.__name__] = module
    # So that tracebacks quote the program's lines though no such file exists.
    linecache.cache[PROGRAM_NAME] = (len(source), None, source.splitlines(True), PROGRAM_NAME)
    exec(code or _compile(source), module.__dict__)  # noqa: S102 - that is this process's purpose
    return _find_codec(module.__dict__)


def _find_codec(namespace: dict[str, Any]) -> tuple[Encode, Decode]:
    encode, decode = namespace.get("encode"), namespace.get("decode")
    if callable(encode) and callable(decode):
        return encode, decode
    from evocodec.codec.adapter import adapt  # noqa: PLC0415 - most programs never need it

    return adapt(namespace)


def describe_error(error: BaseException) -> bytes:
    """Return kind, message and the program's traceback lines, joined by NUL, limited in length."""
    kind = _kind_of(error)
    try:
        text = str(error)
    except BaseException as second:  # noqa: BLE001 - a hostile __str__ must not end the report
        text = f"(its message could not be made: {type(second).__name__})"
    name = type(error).__name__
    message = f"{name}: {text}" if text else name
    if isinstance(error, SyntaxError) and error.filename == PROGRAM_NAME:
        message += f" (line {error.lineno})"
    if kind == "bad_output":
        message = text
    try:
        lines = traceback.format_list(_own_frames(error))
    except BaseException:  # noqa: BLE001 - out of memory, or deliberately broken objects
        lines = []
    parts = (
        kind,
        message[:MESSAGE_CHARACTERS],
        ("".join(lines) + message)[-TRACEBACK_CHARACTERS:],
    )
    return "\0".join(part.replace("\0", "") for part in parts).encode("utf-8", "replace")


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__, limit=-50)
    return [frame for frame in frames if frame.filename == PROGRAM_NAME]


def _kind_of(error: BaseException) -> str:
    if isinstance(error, wire.BadOutputError):
        return "bad_output"
    if isinstance(error, MemoryError) or getattr(error, "code", None) == _OPENCV_NO_MEMORY:
        return "memory"
    # What may not be read does not exist in the sandbox's root folder.
    if isinstance(error, PermissionError | FileNotFoundError):
        return "forbidden"
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return "forbidden"
    return "exception"
