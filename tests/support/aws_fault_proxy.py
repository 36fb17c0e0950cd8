"""A door in front of a server that speaks AWS: it lets calls through, or does them some harm."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """Given in place of the server's."""

    status: int
    code: str = ""
    text: str = "as the test wants it"
    headers: dict[str, str] = field(default_factory=dict)


LOSE = Answer(0)
"""The server does the work, and its answer never arrives."""
CUT = Answer(-1)
"""Half of the body arrives."""
PASS = Answer(-2)
"""No harm is done."""


@dataclass
class Door:
    """``faults`` are used up one by one, by calls whose operation or method is in ``only``."""

    url: str = ""
    faults: list[Answer] = field(default_factory=list)
    only: str = ""
    calls: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def harm(self, only: str, *faults: Answer) -> None:
        self.only, self.faults = only, list(faults)

    def heal(self) -> None:
        self.faults = []


@contextmanager
def door_to(url: str) -> Iterator[Door]:
    """Open a door on loopback."""
    door = Door()
    host = urlsplit(url).netloc
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(door, host))
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    door.url = f"http://127.0.0.1:{proxy.server_port}"
    try:
        yield door
    finally:
        proxy.shutdown()
        proxy.server_close()


def _handler(door: Door, host: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            operation = self.headers.get("X-Amz-Target", self.command).rpartition(".")[2]
            door.calls.append((operation, self.path, dict(self.headers)))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = door.faults.pop(0) if door.faults and operation == door.only else None
            if fault is not None and fault.status > 0:
                self.refuse(fault)
                return
            inner = http.client.HTTPConnection(host)
            inner.request(self.command, self.path, body, dict(self.headers))
            answer = inner.getresponse()
            data = answer.read()
            inner.close()
            if fault is LOSE:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                    self.send_header(name, value)
            if "Content-Length" not in dict(answer.getheaders()):
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if fault is CUT:
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
            elif self.command != "HEAD":
                self.wfile.write(data)

        def refuse(self, fault: Answer) -> None:
            if "X-Amz-Target" in self.headers:
                told: Any = {"__type": f"com.amazonaws#{fault.code}", "message": fault.text}
                data = json.dumps(told).encode()
            else:
                text = f"<Error><Code>{fault.code}</Code><Message>{fault.text}</Message></Error>"
                data = text.encode() if self.command != "HEAD" else b""
            self.send_response(fault.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    return Handler
