"""A real S3 over HTTP on loopback: moto's server behind a door that logs and can misbehave."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from evocodec.video.data_options import DataOptions, data_options, use_options

BUCKET = "clips"


@dataclass
class Door:
    """What came through, and what is to go wrong: each list entry once, for the next GETs."""

    url: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range
    refuse: list[int] = field(default_factory=list)  # answer with this status
    cut: list[int] = field(default_factory=list)  # break off after so many bytes
    flip: list[int] = field(default_factory=list)  # change the byte at this place of the answer

    def ranges(self) -> list[tuple[int, int]]:
        """The byte ranges that were asked for, ends exclusive."""
        asked = [span.removeprefix("bytes=").split("-") for _, _, span in self.requests if span]
        return [(int(first), int(last) + 1) for first, last in asked]


@contextmanager
def running_store() -> Iterator[tuple[Door, Any]]:
    """A store with an empty bucket: its door, and a client that does not go through the door."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    door = Door()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(door, host, port))
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    door.url = f"http://127.0.0.1:{proxy.server_port}"
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket=BUCKET)
    try:
        yield door, client
    finally:
        proxy.shutdown()
        proxy.server_close()
        client.close()
        server.stop()


@contextmanager
def reading_from(door: Door, folder: Any, *, cache_bytes: int = 1 << 30) -> Iterator[DataOptions]:
    """This process takes ``s3://`` to be that store, and caches in ``folder``."""
    before = data_options()
    options = DataOptions(folder, cache_bytes, door.url, test_sets=None)
    use_options(options)
    try:
        yield options
    finally:
        use_options(before)


def with_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any will do, for moto."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def _handler(door: Door, host: str, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            door.requests.append((self.command, self.path, self.headers.get("Range", "")))
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            reading = self.command == "GET"
            if reading and door.refuse:
                self.send_response(door.refuse.pop(0))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            inner = http.client.HTTPConnection(host, port)
            inner.request(self.command, self.path, body, dict(self.headers))
            answer = inner.getresponse()
            data = bytearray(answer.read())
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                    self.send_header(name, value)
            self.end_headers()
            if reading and door.flip:
                data[door.flip.pop(0)] ^= 0xFF
            if reading and door.cut:
                self.wfile.write(data[: door.cut.pop(0)])
                self.close_connection = True
            elif self.command != "HEAD":
                self.wfile.write(data)
            inner.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    return Handler
