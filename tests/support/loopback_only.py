"""Run a server where only a Unix socket leads to it: python loopback_only.py SOCKET PORT COMMAND…

For servers that listen on all interfaces whether one wants it or not. To be started by
``unshare --net``: the server gets a network of its own that has nothing but a loopback interface.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def serve(listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Pass every connection on to another one, until the listener is closed."""
    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=join, args=(near, connect), daemon=True).start()


def join(near: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Pass bytes on in both directions until one side ends."""
    with near:
        try:
            far = connect()
        except OSError:
            return
        with far:
            for end in (near, far):
                if end.family == socket.AF_INET:  # or every other answer takes 40 ms
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=pump, args=(far, near), daemon=True)
            back.start()
            pump(near, far)
            back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on in one direction."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = b"lo".ljust(16, b"\0")
        answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, name + bytes(24))
        (flags,) = struct.unpack("16xH22x", answer)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | IFF_UP))


def main() -> None:
    path, port, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    bring_up_loopback()
    server = subprocess.Popen(command)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)

    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=None)

    threading.Thread(target=serve, args=(listener, connect), daemon=True).start()
    os._exit(server.wait())


if __name__ == "__main__":
    main()
