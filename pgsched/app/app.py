"""The handlers of a program, and clients that know them."""

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
    """Registers handlers by task_type, and creates clients that know their options.

    ``dsn`` is a libpq URI or ``embedded:DIR``; None means ``PGSCHED_DSN``, else libpq's PG* variables, read
    when the first client is created. ``capture_logs`` is the lowest level of ``logging`` records that workers store as
    log lines of the attempt, None for none. ``otel=True`` creates spans and metrics through the global providers of
    OpenTelemetry, a TracerProvider or a Tracing through that one. ``version`` is that of the code, for the register;
    None means ``PGSCHED_APP_VERSION``. Raises ConfigError for an invalid level, and when ``otel`` is requested but the
    extra is not installed.
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
        """Keep a fork of this process from waiting for a thread that it does not have (called by pgsched)."""
        self._lock = threading.Lock()

    @property
    def dsn(self) -> str:
        """The DSN as given; empty for libpq's own variables."""
        return dsn_from(os.environ, self._given_dsn)

    def client(self) -> Client:
        """Return the app's client for threads, always the same one."""
        with self._lock:
            if self._client is None:
                self._client = Client(self.dsn, defaults=self.defaults_of, tracing=self.tracing, payloads=self.registry)
            return self._client

    def async_client(self) -> AsyncClient:
        """Return the app's client for event loops, always the same one."""
        with self._lock:
            if self._async_client is None:
                self._async_client = AsyncClient(
                    self.dsn, defaults=self.defaults_of, tracing=self.tracing, payloads=self.registry
                )
            return self._async_client

    def check_waiting(self, *others: App, limit: int = 100) -> PayloadCheck:
        """Find waiting tasks that this app could not run: their payloads do not fit, or it has no such handler.

        ``others`` are apps that are deployed beside it, on the same database. Counts all, and names ``limit`` misfits.
        Reads 500 tasks at a time. Raises InvalidTask for an invalid limit.
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
        options of handlers name. It serves the handlers of the app, but no built-in ones; child processes
        (``executor="process"``) import the app from ``app_path``, ``module:attribute``. Raises ConfigError for a value
        outside its range.
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
        # By name: it belongs to a layer above this one, which only this call needs.
        embedded = importlib.import_module("pgsched.worker.embedded")
        return cast(
            "EmbeddedWorker", embedded.EmbeddedWorker(self, settings, app_path=app_path, own_queues=queues is None)
        )

    def trace(self) -> None:
        """Create spans and metrics from now on, through the global providers, unless it already does.

        Raises ConfigError when the extra ``otel`` is not installed.
        """
        with self._lock:
            if self.tracing is None:
                self.tracing = load_tracing(True)
            for client in (self._client, self._async_client):
                if client is not None:
                    client.tracing = self.tracing

    def use(self, dsn: str | None) -> str | None:
        """Point clients to another database, and return the previous ``dsn``; the client for threads is closed."""
        self.close()
        with self._lock:
            before, self._given_dsn = self._given_dsn, dsn
            self._async_client = None  # it belongs to an event loop, which must close it
        return before

    def close(self) -> None:
        """Close the client for threads; the next call creates one."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def close_async(self) -> None:
        """Close the client for event loops; the next call creates one."""
        with self._lock:
            client, self._async_client = self._async_client, None
        if client is not None:
            await client.close()

    def as_app(self, task_type: str) -> App:  # noqa: ARG002
        """Return this app, through which everything included in it is scheduled (called by pgsched)."""
        return self
