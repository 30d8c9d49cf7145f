"""An HTTP server in a thread of the test's process, that notes what it is asked and answers by the path."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Asked(NamedTuple):
    """A request that came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    peer: str


class Server(ThreadingHTTPServer):
    """Answers ``/status/503?retry-after=7`` with that status and headers, ``/size/70000`` with so many bytes,
    ``/echo`` with what it was asked, ``/json`` with the query's ``text``, and ``/hang`` not until it is closed."""

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), _Handler)
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self.tls_name: str | None = None

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # without looking up the host's name
        self.server_name, self.server_port = str(self.server_address[0]), self.port

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        super().handle_one_request()
        self.close_connection = True

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        peer = str(self.client_address[0])
        self.server.asked.append(Asked(self.command, self.path, dict(self.headers), body, peer))
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        _, what, *more = parts.path.split("/")
        if what == "hang":
            self.server.closing.wait(30)
            return
        if what == "drip":
            self._drip()
            return
        if what == "status":
            self._send(int(more[0]), f"status {more[0]}".encode(), query)
        elif what == "size":
            self._send(200, b"x" * int(more[0]), {"content-type": "text/plain"})
        elif what == "json":
            self._send(200, query["text"].encode(), {"content-type": "application/json; charset=utf-8"})
        elif what == "text":
            self._send(200, "grüße".encode(more[0]), {"content-type": f"text/plain; charset={more[0]}"})
        elif what == "short":
            self._send(200, b"too little", {"content-length": "1000"})
        elif what == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nfirst\r\n7\r\n second\r\n0\r\n\r\n")
        else:
            echo = {"method": self.command, "headers": dict(self.headers), "body": body.decode()}
            self._send(200, json.dumps(echo).encode(), {"content-type": "application/json"})

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"content-length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.server.closing.wait(0.02):
            self.wfile.write(b".")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def serving(host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server for a ``with``; ``port`` 0 takes a free one."""
    server = Server(host, port)
    if tls is not None:

        def note(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
            server.tls_name = name

        tls.sni_callback = note  # type: ignore[assignment]
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
