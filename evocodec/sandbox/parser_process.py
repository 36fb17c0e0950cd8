"""A process that parses program texts for the controller, one request after another.

It executes no program. It reads its requests from the socket that is its standard input, and ends
when that closes. Both ends speak in frames: eight bytes of length, then the content.
"""

import pickle
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable

ANSWER, OUT_OF_MEMORY, BROKEN, FAULT, READY = 0, 1, 2, 3, 4
"""The first byte of a reply: a result, or why there is none; the first reply of all is READY.

BROKEN is the text's doing; FAULT is the machine's, such as a file that cannot be opened.
"""

_LENGTH = struct.Struct(">Q")


def send(connection: socket.socket, content: bytes) -> None:
    """Send one frame."""
    connection.sendall(_LENGTH.pack(len(content)) + content)


def receive(connection: socket.socket, most: int) -> bytes:
    """Receive one frame; raises EOFError at the end, and ValueError when it is over ``most``."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > most:
        raise ValueError(f"a frame of {length} bytes")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        part = connection.recv(min(count - len(content), 1 << 20))
        if not part:
            raise EOFError
        content += part
    return bytes(content)


def main(memory_bytes: int) -> None:
    """Serve until the socket closes."""
    connection = socket.socket(fileno=0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    send(connection, bytes([READY]))
    while True:
        try:
            request = receive(connection, sys.maxsize)
        except (EOFError, ConnectionError):
            return
        answer = _answer(request)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        send(connection, answer)


def _answer(request: bytes) -> bytes:
    task: Callable[..., bytes]
    try:
        cpu_seconds, task, arguments = pickle.loads(request)  # noqa: S301 - from our controller
        # SIGPROF ends the process: a C loop in the parser would not notice anything milder.
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        return bytes([ANSWER]) + task(*arguments)
    except MemoryError:
        return bytes([OUT_OF_MEMORY])
    except (OSError, ImportError) as error:
        return bytes([FAULT]) + _said(error)
    except Exception as error:  # noqa: BLE001 - a process edge: the controller logs and refuses
        return bytes([BROKEN]) + _said(error)


def _said(error: Exception) -> bytes:
    return f"{type(error).__name__}: {error}"[:500].encode(errors="replace")


if __name__ == "__main__":
    main(int(sys.argv[1]))
