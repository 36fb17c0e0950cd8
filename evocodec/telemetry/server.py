"""HTTP server of ``/metrics`` and ``/healthz``, for Prometheus and for probes."""

import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from evocodec.domain.errors import EvocodecError, UserError

_logger = logging.getLogger(__name__)
_REQUEST_SECONDS = 10.0
_LONGEST_INTERVAL_SECONDS = 60.0
_SCRAPER = "X-Prometheus-Scrape-Timeout-Seconds"


class MetricsServer:
    """A small server in threads of its own; a context manager.

    ``refresh`` is called before each scrape. There is no TLS and no login: bind it to loopback, or
    let a network policy say who may reach it.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        host: str,
        port: int,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        """Bind the address; port 0 takes a free one.

        Raises UserError when the address cannot be had.
        """
        self._scrapes = _Scrapes()
        handler = _handler(registry, refresh, self._scrapes)
        try:
            self._server = _Server((host, port), handler)
        except (OSError, OverflowError) as error:
            message = (
                f"cannot serve metrics on {host}:{port}: {error}. Choose another address with "
                "telemetry.metrics_bind and telemetry.metrics_port, or 0 to serve none"
            )
            raise UserError(message) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )

    @property
    def url(self) -> str:
        """Address for Prometheus."""
        name = self._server.server_name
        host = f"[{name}]" if ":" in name else name
        return f"http://{host}:{self._server.server_port}/metrics"

    def await_last_scrape(self, over: Callable[[], bool]) -> None:
        """Return once Prometheus has read the last values, or ``over`` returns True.

        At once where it never came, or came only once; and it is not waited for much longer than it
        took between its last two visits.
        """
        self._scrapes.await_next(over)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Scrapes:
    """Times of Prometheus' scrapes; people who open the page are not counted."""

    def __init__(self) -> None:
        self._came = threading.Condition()
        self._begun: list[float] = []  # the last two that were answered

    def answered(self, begun: float) -> None:
        with self._came:
            self._begun = [*self._begun[-1:], begun]
            self._came.notify_all()

    def await_next(self, over: Callable[[], bool]) -> None:
        now = time.monotonic()
        with self._came:
            if len(self._begun) < 2:
                return
            before, last = self._begun
            until = now + 1.5 * min(last - before, _LONGEST_INTERVAL_SECONDS)
            while self._begun[-1] < now and not over():
                left = until - time.monotonic()
                if left <= 0:
                    return
                self._came.wait(min(left, 0.2))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a peer that sends nothing must not hold up the end of a run

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks DNS for its name, which takes as long as DNS takes to say no.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        _logger.debug("a request for metrics from %s failed", client_address, exc_info=True)


def _handler(
    registry: CollectorRegistry, refresh: Callable[[], None], scrapes: _Scrapes
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_SECONDS
        server_version = "evocodec"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._scrape()
            elif path == "/healthz":
                self._answer(HTTPStatus.OK, b"ok\n", "text/plain")
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"try /metrics\n", "text/plain")

        def _scrape(self) -> None:
            begun = time.monotonic()
            try:
                refresh()
            except EvocodecError as error:
                _logger.warning("metrics cannot be read: %s", error)
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"see the log\n", "text/plain")
                return
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, encode(registry), content_type)
            if _SCRAPER in self.headers:
                scrapes.answered(begun)

        def log_message(self, format: str, *args: object) -> None:
            _logger.debug(format, *args)

        def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
