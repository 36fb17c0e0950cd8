"""A real HTTP server that speaks OpenAI's chat completions and does what a script tells it.

Each request takes the next behaviour of the script; the last one repeats. ``requests`` keeps what
was asked. What is answered whole is answered so although a stream was asked for, as some do.
The question of a preflight is answered outside the script, unless ``preflight`` is off.
"""

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from evocodec.models.preflight import QUESTION


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    at: float

    @property
    def prompt(self) -> str:
        return "\n".join(str(message["content"]) for message in self.body["messages"])


Behaviour = Callable[["_Handler", Asked], None]


@dataclass
class Endpoint:
    """Where the server listens, and what it was asked."""

    base_url: str
    script: list[Behaviour]
    requests: list[Asked] = field(default_factory=list)
    preflights: list[Asked] = field(default_factory=list)
    preflight: bool = True
    models: Any = None
    """Answer to ``GET /models``; None: there is no such page."""
    stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, asked: Asked) -> Behaviour:
        with self._lock:
            self.requests.append(asked)
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@contextmanager
def scripted_endpoint(
    replies: Sequence[Behaviour | str], *, tls: ssl.SSLContext | None = None
) -> Iterator[Endpoint]:
    """Serve on 127.0.0.1 at a free port; a string is a plain good reply."""
    script = [reply if callable(reply) else says(reply) for reply in replies]
    server = _Server(("127.0.0.1", 0), _Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_address[1]}/v1", script)
    server.endpoint = endpoint
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


def says(
    text: str | None, *, finish: str = "stop", usage: bool = True, **message: Any
) -> Behaviour:
    """Answer with this text."""

    def behave(handler: "_Handler", asked: Asked) -> None:
        body: dict[str, Any] = {
            "id": "chatcmpl-scripted",
            "object": "chat.completion",
            "created": 1,
            "model": asked.body.get("model", ""),
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish,
                    "message": {"role": "assistant", "content": text, **message},
                }
            ],
        }
        if usage:
            prompt, completion = len(asked.prompt) // 4 + 1, len(text or "") // 4 + 1
            body["usage"] = {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            }
        handler.send_json(200, body)

    return behave


def code(program: str) -> Behaviour:
    """A well-behaved coder's answer."""
    return says(f"Here it is.\n\n```python\n{program}\n```\nIt should save bits.")


def empty() -> Behaviour:
    """A reply without text."""
    return says("")


def refusal() -> Behaviour:
    """The structured refusal of OpenAI's models."""
    return says(None, refusal="I'm sorry, but I can't help with that.")


def filtered() -> Behaviour:
    """Cut by the provider's content filter."""
    return says("", finish="content_filter")


def tool_call_only() -> Behaviour:
    """The model calls a tool that nobody offered."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "run_python", "arguments": '{"code": "1"}'},
    }
    return says(None, finish="tool_calls", tool_calls=[call])


def fails(
    status: int, *, message: str = "scripted", code: str | None = None, **headers: str
) -> Behaviour:
    """An error in OpenAI's form; header names take underscores for dashes."""

    def behave(handler: "_Handler", asked: Asked) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        error = {"message": message, "type": "scripted", "param": None, "code": code}
        handler.send_json(status, {"error": error}, named)

    return behave


def context_overflow() -> Behaviour:
    """The prompt does not fit."""
    return fails(
        400,
        message="This model's maximum context length is 4096 tokens. However, you requested 9000.",
        code="context_length_exceeded",
    )


def slow(seconds: float) -> Behaviour:
    """Say nothing for a long time."""

    def behave(handler: "_Handler", asked: Asked) -> None:
        handler.rest(seconds)

    return behave


def drips(seconds: float, *, in_headers: bool = False) -> Behaviour:
    """Send a byte now and then, so that no single read ever times out."""

    def behave(handler: "_Handler", asked: Asked) -> None:
        if in_headers:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Padding: ")
        else:
            handler.start(200, {"Content-Type": "application/json", "Content-Length": "100000"})
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not handler.endpoint.stopping.is_set():
            handler.wfile.write(b" " if not in_headers else b"x")
            handler.wfile.flush()
            handler.rest(0.05)

    return behave


def drops() -> Behaviour:
    """Reset the connection without an answer."""

    def behave(handler: "_Handler", asked: Asked) -> None:
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.close()

    return behave


def cuts_short() -> Behaviour:
    """Promise more bytes than are sent."""

    def behave(handler: "_Handler", asked: Asked) -> None:
        handler.start(200, {"Content-Type": "application/json", "Content-Length": "5000"})
        handler.wfile.write(b'{"id": "half')
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    return behave


def answers(status: int, body: Any, **headers: str) -> Behaviour:
    """Answer with any JSON and status; header names take underscores for dashes."""

    def behave(handler: "_Handler", asked: Asked) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.send_json(status, body, named)

    return behave


def streams(
    *pieces: str, usage: Any = None, pause_seconds: float = 0.0, end: bytes = b"data: [DONE]\n\n"
) -> Behaviour:
    """Write the reply piece by piece, with the pause before each, as server-sent events."""

    def event(body: Mapping[str, Any]) -> bytes:
        return (
            b"data: " + json.dumps({"object": "chat.completion.chunk", **body}).encode() + b"\n\n"
        )

    def behave(handler: "_Handler", asked: Asked) -> None:
        handler.start(200, {"Content-Type": "text/event-stream"})
        for piece in pieces:
            handler.rest(pause_seconds)
            choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
            handler.wfile.write(event({"choices": [choice]}))
            handler.wfile.flush()
        if end:
            handler.wfile.write(
                event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            )
        if usage is not None:
            handler.wfile.write(event({"choices": [], "usage": usage}))
        handler.wfile.write(end)

    return behave


def raw(body: bytes, content_type: str = "application/json") -> Behaviour:
    """Status 200 with any body."""

    def behave(handler: "_Handler", asked: Asked) -> None:
        handler.start(200, {"Content-Type": content_type, "Content-Length": str(len(body))})
        handler.wfile.write(body)

    return behave


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # many candidates call at one moment
    endpoint: Endpoint

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the script."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    @property
    def endpoint(self) -> Endpoint:
        return self.server.endpoint

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = json.loads(self.rfile.read(length))
        asked = Asked(self.path, dict(self.headers.items()), body, time.monotonic())
        self.close_connection = True
        if self.endpoint.preflight and body["messages"][-1]["content"] == QUESTION[-1].content:
            self.endpoint.preflights.append(asked)
            says("ready")(self, asked)
            return
        self.endpoint.take(asked)(self, asked)

    def do_GET(self) -> None:
        self.close_connection = True
        if self.endpoint.models is None:
            self.send_json(404, {"error": {"message": "no such page"}})
        else:
            self.send_json(200, self.endpoint.models)

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_json(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        data = json.dumps(body).encode()
        self.start(
            status,
            {
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
                **(headers or {}),
            },
        )
        self.wfile.write(data)

    def rest(self, seconds: float) -> None:
        """Wait, but not longer than the test."""
        self.endpoint.stopping.wait(seconds)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""
