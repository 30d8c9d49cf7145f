"""Serves the web face: alone until a signal, or beside a worker in a thread."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import uvicorn
from starlette.types import ASGIApp

from pgsched.db.migrations.runner import WEB_RIGHTS, check_schema
from pgsched.domain.errors import ConfigError, DatabaseUnavailable, PgschedError
from pgsched.observability.logs import get_logger
from pgsched.observability.systemd import Manager, find_manager
from pgsched.web.app import create_app
from pgsched.web.auth.proxies import TrustedProxies
from pgsched.web.settings import WebSettings
from pgsched.web.site import create_site
from pgsched.web.timed_protocol import TimedProtocol

log = get_logger("pgsched.web")

GRACE_SECONDS = 5
"""Requests under way get so long to end."""

UNPROTECTED = (
    "no tokens are set: whoever reaches this port is an operator, and through a proxy on this machine that is "
    "everyone: set PGSCHED_OPERATOR_TOKEN before you put a proxy in front"
)


def run_web(*, databases: Mapping[str, str], settings: WebSettings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. ``databases`` are libpq's DSNs by their names.

    A single one is served without its name. Raises ConfigError, SchemaMismatch and DatabaseUnavailable before anything
    is served; of several databases some may be away.
    """
    manager = find_manager(os.environ)
    check_databases(databases)
    with bound(settings.host, settings.port) as listener:
        server = Server(databases=databases, settings=settings, listener=listener, manager=manager)
        log.info("web_served", url=server.url, protected=settings.protected)
        if not settings.protected:
            log.warning("web_unprotected", url=server.url, who=UNPROTECTED)
        asyncio.run(server.run_until_signalled())
    log.info("web_stopped")
    return 0


def check_databases(databases: Mapping[str, str]) -> None:
    """Raise SchemaMismatch and DatabaseUnavailable unless all that answer can be served, and one does."""
    away: dict[str, DatabaseUnavailable] = {}
    for name, dsn in databases.items():
        try:
            check_schema(dsn, WEB_RIGHTS)
        except DatabaseUnavailable as error:
            away[name] = error
            if len(away) == len(databases):
                raise
        except PgschedError as error:
            if len(databases) == 1:
                raise
            raise ConfigError(f"the database {name}: {error}") from error
    for name, missed in away.items():
        log.warning("database_down", database=name, reason=str(missed))


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens. Raises ConfigError when the address cannot be had."""
    with ExitStack() as opened:
        try:
            family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = opened.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except OSError as error:
            raise ConfigError(f"host {host} and port {port} cannot be served: {error.strerror or error}") from None
        yield listener


class UvicornServer(uvicorn.Server):
    """Leaves the signals to its caller, who may have streams to end first and may run in a thread."""

    def __init__(self, config: uvicorn.Config, manager: Manager | None = None) -> None:
        super().__init__(config)
        self._manager = manager

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets)
        if self._manager is not None and self.started:
            self._manager.ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class Server:
    """The app on a socket that listens."""

    def __init__(
        self,
        *,
        databases: Mapping[str, str],
        settings: WebSettings,
        listener: socket.socket,
        manager: Manager | None = None,
    ) -> None:
        """``manager`` is told when this serves, and when it stops."""
        self._manager = manager
        app: ASGIApp
        if len(databases) == 1:
            one = create_app(*databases.values(), settings=settings)
            app, self._parts = one, [one]
        else:
            site = create_site(databases, settings=settings)
            app, self._parts = site, list(site.parts.values())
        self._listener = listener
        host, port = listener.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}{settings.path_prefix}/"
        """Where it is served."""
        config = uvicorn.Config(
            TrustedProxies(app, settings.proxies),
            http=TimedProtocol,
            log_config=None,  # its records join ours
            access_log=False,  # it would write queries
            server_header=False,
            proxy_headers=False,  # it believes every address of a network; see TrustedProxies
            date_header=True,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self._server = UvicornServer(config, manager)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()

    async def run_until_signalled(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends the requests under way."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        await self._run()

    @contextmanager
    def run_in_thread(self) -> Iterator[None]:
        """Serve for the time of a ``with``, and end in order."""
        thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="pgsched web", daemon=True)
        thread.start()
        self._ready.wait()
        try:
            yield
        finally:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._stop)
            thread.join(GRACE_SECONDS + 5)

    def _stop(self) -> None:
        if self._manager is not None:
            self._manager.stopping()
        # Streams first: requests that would never end are otherwise waited for.
        for part in self._parts:
            part.state.web.stopping.set()
        self._server.force_exit = self._server.should_exit
        self._server.should_exit = True

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._server.serve(sockets=[self._listener])


@contextmanager
def serving(*, dsn: str | Mapping[str, str], settings: WebSettings) -> Iterator[str]:
    """Serve a database, or several by their names, in a thread for the time of a ``with``, which gets the address.

    Raises ConfigError.
    """
    databases = {"": dsn} if isinstance(dsn, str) else dsn
    with bound(settings.host, settings.port) as listener:
        server = Server(databases=databases, settings=settings, listener=listener)
        with server.run_in_thread():
            yield server.url
