"""The handlers of a program, and the client that knows them."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from pgsched.app.router import Router
from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.concurrency import fork_guard
from pgsched.domain.settings import WorkerSettings, app_version, capture_level, dsn_from
from pgsched.observability.extras import load_tracing

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from pgsched.observability.tracing import Tracing
    from pgsched.ops.payload_check import Asking, PayloadCheck
    from pgsched.worker.embedded import EmbeddedWorker

P = ParamSpec("P")
R = TypeVar("R")


class App(Router):
    """Registers handlers by task_type, and makes clients that know their options.

    ``dsn`` is a libpq URI or ``embedded:DIR``; None means ``PGSCHED_DSN``, else libpq's PG* variables, read
    when the first client is made. ``capture_logs`` is the least level of what handlers log through ``logging`` that
    workers keep as lines of the attempt, None for nothing. ``otel=True`` makes spans and metrics through the global
    providers of OpenTelemetry, a TracerProvider or a Tracing through that one. ``version`` is that of the code, for the
    register; None means ``PGSCHED_APP_VERSION``. Raises ConfigError for a level that is none, and when the extra
    ``otel`` is wanted and not installed.
    """

    def __init__(
        self,
        *,
        dsn: str | None = None,
        capture_logs: str | None = "INFO",
        otel: bool | TracerProvider | Tracing = False,
        version: str | None = None,
    ) -> None:
        super().__init__(version=app_version(os.environ, version))
        self._given_dsn = dsn
        self.tracing: Tracing | None = load_tracing(otel) if otel is not False else None
        self.capture_logs = capture_level(capture_logs)
        self.begin_afresh()
        fork_guard.watch(self)
        self._client: Client | None = None
        self._async_client: AsyncClient | None = None

    def begin_afresh(self) -> None:
        """Let a copy of this process not wait for a thread that it has not (called by pgsched)."""
        self._lock = threading.Lock()

    @property
    def dsn(self) -> str:
        """The DSN as it was given; empty for libpq's own variables."""
        return dsn_from(os.environ, self._given_dsn)

    def client(self) -> Client:
        """Return the app's client for threads, the same each time."""
        with self._lock:
            if self._client is None:
                self._client = Client(self.dsn, defaults=self.defaults_of, tracing=self.tracing, payloads=self.registry)
            return self._client

    def async_client(self) -> AsyncClient:
        """Return the app's client for event loops, the same each time."""
        with self._lock:
            if self._async_client is None:
                self._async_client = AsyncClient(
                    self.dsn, defaults=self.defaults_of, tracing=self.tracing, payloads=self.registry
                )
            return self._async_client

    def check_waiting(self, *others: App, limit: int = 100) -> PayloadCheck:
        """Look which tasks that wait this app could not run: their payloads do not fit, or it has no such handler.

        ``others`` are apps that are deployed beside it, on the same database. Counts all, and names ``limit`` misfits.
        Reads 500 tasks at once. Raises InvalidTask for a limit that is none.
        """
        asking, client = self._checking(others, limit), self.client()
        try:
            command = next(asking)
            while True:
                command = asking.send(client.database.run(command))
        except StopIteration as end:
            return cast("PayloadCheck", end.value)

    async def check_waiting_async(self, *others: App, limit: int = 100) -> PayloadCheck:
        """Do the same on an event loop."""
        asking, client = self._checking(others, limit), self.async_client()
        try:
            command = next(asking)
            while True:
                command = asking.send(await client.database.run(command))
        except StopIteration as end:
            return cast("PayloadCheck", end.value)

    def _checking(self, others: Sequence[App], limit: int) -> Asking:
        from pgsched.builtin.settings import NAMES  # only here: handlers need nothing of it
        from pgsched.ops.payload_check import checking

        builtin = {name for names in NAMES.values() for name in names}
        return checking([self.registry, *(one.registry for one in others)], limit=limit, others=builtin)

    def worker(
        self,
        *,
        queues: Sequence[str] | None = None,
        concurrency: int = WorkerSettings.concurrency,
        lease: float = WorkerSettings.lease,
        poll_interval: float = WorkerSettings.poll_interval,
        shutdown_timeout: float = WorkerSettings.shutdown_timeout,
        transactions: int | None = None,
        capture_logs: str | None = None,
        app_path: str | None = None,
    ) -> EmbeddedWorker:
        """Return a worker for this program's event loop: ``async with app.worker(queues=["mail"]) as worker:``.

        The arguments are the options of ``pgsched worker``: without ``queues`` it serves ``default`` and those that the
        options of handlers name. It serves the handlers of the app, no built-in ones;
        ``app_path``, ``module:attribute``, is where child processes (``executor="process"``) find it. Raises
        ConfigError for a value outside its range.
        """
        settings = WorkerSettings(
            queues=WorkerSettings.queues if queues is None else tuple(queues),
            concurrency=concurrency,
            lease=lease,
            poll_interval=poll_interval,
            shutdown_timeout=shutdown_timeout,
            transactions=transactions,
            capture_logs=capture_logs,
        )
        # By its name: it is of a layer above this one, which nothing but this call needs.
        embedded = importlib.import_module("pgsched.worker.embedded")
        return cast(
            "EmbeddedWorker", embedded.EmbeddedWorker(self, settings, app_path=app_path, own_queues=queues is None)
        )

    def trace(self) -> None:
        """Make spans and metrics from now on, by the global providers, unless it makes them already.

        Raises ConfigError when the extra ``otel`` is not installed.
        """
        with self._lock:
            if self.tracing is None:
                self.tracing = load_tracing(True)
            for client in (self._client, self._async_client):
                if client is not None:
                    client.tracing = self.tracing

    def use(self, dsn: str | None) -> str | None:
        """Let clients be of another database, and return the ``dsn`` before; the client for threads is closed."""
        self.close()
        with self._lock:
            before, self._given_dsn = self._given_dsn, dsn
            self._async_client = None  # it belongs to an event loop, whose business it is
        return before

    def close(self) -> None:
        """Close the client for threads; the next one is new."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def close_async(self) -> None:
        """Close the client for event loops; the next one is new."""
        with self._lock:
            client, self._async_client = self._async_client, None
        if client is not None:
            await client.close()

    def as_app(self, task_type: str) -> App:  # noqa: ARG002
        """Return this app: what is included in it is scheduled through it (called by pgsched)."""
        return self
