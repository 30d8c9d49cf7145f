"""/metrics, /healthz and /readyz, served from a thread that no handler can block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from pgsched.errors import ConfigError

Probe = Callable[[], str | None]
"""Returns None when all is well, else one line that says what is not."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SilentHandler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:
        """Requests of a scraper every few seconds are not worth a line."""


class HttpServer:
    """Serves one registry and two probes on ``host:port``; port 0 takes a free one."""

    def __init__(self, *, host: str, port: int, registry: CollectorRegistry, healthy: Probe, ready: Probe) -> None:
        self._metrics = make_wsgi_app(registry)
        self._probes = {"/healthz": healthy, "/readyz": ready}
        try:
            self._server = make_server(host, port, self._answer, _Server, _SilentHandler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"metrics cannot be served on {host}:{port}: {error}") from error
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="pgsched-http", daemon=True)

    def start(self) -> None:
        """Serve from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            body: Iterable[bytes] = self._metrics(environ, start_response)
            return body
        probe = self._probes.get(path)
        if probe is None:
            status, text = "404 Not Found", "try /metrics, /healthz or /readyz"
        else:
            problem = probe()
            status, text = ("200 OK", "ok") if problem is None else ("503 Service Unavailable", problem)
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]
