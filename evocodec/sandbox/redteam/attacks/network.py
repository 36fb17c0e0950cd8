"""Attacks over the network: try to reach anyone outside, over every kind of socket."""

from functools import partial

from evocodec.sandbox.redteam.attack import Theme
from evocodec.sandbox.redteam.checks import DESCRIPTORS, SECCOMP
from evocodec.sandbox.redteam.programs import attempt

_attack = partial(attempt, Theme.NETWORK, layer=SECCOMP)

ATTACKS = (
    _attack(
        "tcp-ipv4",
        "connect by TCP over IPv4",
        """
        import socket
        socket.create_connection(("127.0.0.1", @TCP4@), 2).sendall(TOKEN.encode())
        return "connected"
        """,
    ),
    _attack(
        "tcp-ipv6",
        "connect by TCP over IPv6",
        """
        import socket
        socket.create_connection(("::1", @TCP6@), 2).sendall(TOKEN.encode())
        return "connected"
        """,
    ),
    _attack(
        "udp",
        "send a datagram",
        """
        import socket
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"out", ("127.0.0.1", @UDP4@))
        return "sent"
        """,
    ),
    _attack(
        "tcp-raw-calls",
        "connect by raw system calls, past Python's socket module",
        """
        import struct
        address = struct.pack("=HHI8x", 2, socket_port(@TCP4@), 0x0100007F)
        s = call((41, 198), 2, 1, 0)
        call((42, 203), s, address, 16)
        return "connected"
        """.replace("socket_port(@TCP4@)", "int.from_bytes((@TCP4@).to_bytes(2, 'big'), 'little')"),
    ),
    _attack(
        "dns",
        "resolve a name",
        """
        import socket
        return socket.getaddrinfo("localhost", @TCP4@)[0][4][0]
        """,
    ),
    _attack(
        "listen",
        "accept connections from outside",
        """
        import socket
        server = socket.socket()
        server.bind(("127.0.0.1", 0))
        server.listen()
        return server.getsockname()
        """,
    ),
    _attack(
        "unix-abstract",
        "connect to an abstract Unix socket",
        """
        import socket
        socket.socket(socket.AF_UNIX).connect("\\0@ABSTRACT@")
        return "connected"
        """,
    ),
    _attack(
        "unix-path",
        "connect to a Unix socket in the file system",
        """
        import socket
        socket.socket(socket.AF_UNIX).connect("@SOCKET@")
        return "connected"
        """,
    ),
    _attack(
        "netlink",
        "ask the kernel for its network interfaces over netlink",
        """
        import socket
        s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        s.bind((0, 0))
        return "opened"
        """,
    ),
    _attack(
        "rare-families",
        "open a socket of any other family: vsock, Bluetooth, CAN, kernel crypto, packet, XDP",
        """
        def open_family(family, kind):
            return lambda: f"family {family}: descriptor {call((41, 198), family, kind, 0)}"
        kinds = [(f, k) for f in (40, 31, 29, 38, 17, 44, 16, 21, 30, 33) for k in (1, 2, 3, 5)]
        return first(*(open_family(*kind) for kind in kinds))
        """,
    ),
    _attack(
        "socketpair",
        "make a pair of sockets, over which descriptors could be passed",
        """
        import socket
        left, right = socket.socketpair()
        socket.send_fds(left, [b"x"], [0])
        return f"received descriptor {socket.recv_fds(right, 1, 1)[1]}"
        """,
    ),
    _attack(
        "passed-descriptors",
        "use a socket, folder or file that was left open by the launcher",
        """
        import stat
        found, facts = [], ctypes.create_string_buffer(256)
        for fd in range(4096):
            try:
                os.get_inheritable(fd)
                call((5, 80), fd, facts)
            except OSError as error:
                last = error
                continue
            mode = int.from_bytes(facts[16 if ARM else 24:][:4], "little")
            if not stat.S_ISFIFO(mode) and not (fd == 0 and stat.S_ISCHR(mode)):
                found.append((fd, oct(mode)))
        if found:
            return found
        raise last
        """,
        layer=DESCRIPTORS,
    ),
    _attack(
        "receive-descriptors",
        "receive a message, and descriptors with it, on what it was given",
        """
        header = (ctypes.c_char * 56)()
        return each(lambda fd: call((47, 212), fd, header, 0x40), range(8))
        """,
    ),
    _attack(
        "io-uring-connect",
        "make connections through io_uring, which seccomp does not see into",
        """
        parameters = (ctypes.c_char * 120)()
        return f"a ring, descriptor {call((425, 425), 8, parameters)}"
        """,
    ),
)
