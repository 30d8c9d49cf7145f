"""/metrics, /healthz and /readyz, served from a thread that no handler can block.

A port in use, a probe or a collector that raises, a scraper that hangs up: none of them affects the worker. What could
not be served is logged and retried.
"""

from __future__ import annotations

import errno
import io
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from pgsched.domain.errors import ConfigError
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

AGAIN_SECONDS = 2.0
"""How often a port in use is tried again, and how soon a failed server serves again."""
CLOSE_SECONDS = 2.0
"""Maximum wait for the server to end."""

Told = Callable[[], list[dict[str, Any]]]
"""Returns the troubles that readiness reports, whether they keep the worker from its work or not."""
Probe = Callable[[], str | None]
"""Returns None when all is well, else one line that names the problem."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Ignore a client that hung up, or a thread that could not be started."""
        log.debug("scrape_failed", exc_info=True)


class _SilentHandler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a scraper sends a request every few seconds."""

    def get_stderr(self) -> Any:
        """Replace the traceback that the standard library prints to a stderr that a handler may have closed."""
        return io.StringIO()


def bindable_port(host: str, port: int) -> int:
    """Return the port, a free one for 0. Raises ConfigError when it cannot be bound now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"metrics cannot be served on {host}:{port}: {error.strerror}") from error
        return int(probe.getsockname()[1])


class HttpServer:
    """Serves one registry and two probes on ``host:port``; port 0 takes a free one."""

    def __init__(
        self, *, host: str, port: int, registry: CollectorRegistry, healthy: Probe, ready: Probe, troubles: Told = list
    ) -> None:
        """Raises ConfigError for an address of another machine. A port in use is waited for."""
        self._troubles = troubles
        self._metrics = make_wsgi_app(registry)
        self._probes = {"/healthz": healthy, "/readyz": ready}
        self._host = host
        self.port = port
        """The port; for 0 the one that it chose."""
        self._stopped = threading.Event()
        self._server: WSGIServer | None = None
        try:
            self._bind()
        except (OSError, OverflowError) as error:
            if not isinstance(error, OSError) or error.errno != errno.EADDRINUSE:
                raise ConfigError(f"metrics cannot be served on {host}:{port}: {error}") from error
            log.error("metrics_not_served", host=host, port=port, error=str(error), again_in=AGAIN_SECONDS)
        self._thread = threading.Thread(target=self._run, name="pgsched-http", daemon=True)

    def start(self) -> None:
        """Serve from now on, or as soon as the port is free."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._stopped.set()
        if self._server is None:
            return
        if self._thread.is_alive():
            # In a thread: it waits for a loop that may not be running after a failure.
            closing = threading.Thread(target=self._server.shutdown, name="pgsched-http end", daemon=True)
            closing.start()
            closing.join(CLOSE_SECONDS)
        self._server.server_close()

    def _bind(self) -> None:
        self._server = make_server(self._host, self.port, self._answer, _Server, _SilentHandler)
        self.port = self._server.server_port

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                if self._server is None:
                    self._bind()
                assert self._server is not None  # noqa: S101
                log.info("metrics_served", host=self._host, port=self.port)
                self._server.serve_forever()
                return
            except OSError as error:
                log.debug("metrics_not_served", error=str(error))
            except Exception:
                log.exception("metrics_not_served", again_in=AGAIN_SECONDS)
            self._stopped.wait(AGAIN_SECONDS)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        try:
            if path == "/metrics":
                body: Iterable[bytes] = self._metrics(environ, start_response)
                return body
            status, kind, text = self._probed(path, environ.get("HTTP_ACCEPT", ""))
        except Exception as error:
            log.exception("scrape_failed", path=path)
            status, kind, text = "500 Internal Server Error", "text/plain", f"{type(error).__name__}: it cannot be told"
        start_response(status, [("Content-Type", f"{kind}; charset=utf-8")])
        return [f"{text}\n".encode(errors="backslashreplace")]

    def _probed(self, path: str, accept: str) -> tuple[str, str, str]:
        """Status, content type and body."""
        probe = self._probes.get(path)
        if probe is None:
            return "404 Not Found", "text/plain", "try /metrics, /healthz or /readyz"
        problem = probe()
        status, text = ("200 OK", "ok") if problem is None else ("503 Service Unavailable", problem)
        troubles = self._troubles() if path == "/readyz" else []
        if path == "/readyz" and "application/json" in accept:
            told = {"ready": problem is None, "problem": problem, "troubles": troubles}
            return status, "application/json", json.dumps(told)
        return status, "text/plain", "\n".join([text, *map(_line, troubles)])


def _line(trouble: dict[str, Any]) -> str:
    place = f"process {trouble['process']}: " if "process" in trouble else ""
    return f"{place}{trouble['kind']}: {trouble['detail']} (since {trouble['since']})"


@contextmanager
def served(
    host: str, port: int | None, metrics: CollectorRegistry, healthy: Probe, ready: Probe, troubles: Told
) -> Iterator[None]:
    """Serve metrics and probes meanwhile, unless ``port`` is None."""
    if port is None:
        yield
        return
    server = HttpServer(host=host, port=port, registry=metrics, healthy=healthy, ready=ready, troubles=troubles)
    server.start()
    try:
        yield
    finally:
        server.stop()
