"""The handlers of a program, and the client that knows them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar, Unpack, cast

from pgsched.app.task_handle import Registering, TaskHandle
from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.concurrency import fork_guard
from pgsched.domain.events import Hook, Hooks
from pgsched.domain.settings import app_version, capture_level, dsn_from
from pgsched.domain.task_spec import TaskOptions, TaskSpec
from pgsched.execution.registry import Registry
from pgsched.observability.extras import load_tracing

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from pgsched.observability.tracing import Tracing

P = ParamSpec("P")
R = TypeVar("R")


class App:
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
        self._given_dsn = dsn
        self.tracing: Tracing | None = load_tracing(otel) if otel is not False else None
        self.capture_logs = capture_level(capture_logs)
        self.hooks = Hooks()
        self.begin_afresh()
        fork_guard.watch(self)
        self._client: Client | None = None
        self._async_client: AsyncClient | None = None
        self.registry = Registry(version=app_version(os.environ, version))

    def begin_afresh(self) -> None:
        """Let a copy of this process not wait for a thread that it has not (called by pgsched)."""
        self._lock = threading.Lock()

    @property
    def dsn(self) -> str:
        """The DSN as it was given; empty for libpq's own variables."""
        return dsn_from(os.environ, self._given_dsn)

    def task(
        self,
        task_type: str,
        *,
        executor: str = "auto",
        memory_limit: int | str | None = None,
        transactional: bool = False,
        strict: bool = False,
        **options: Unpack[TaskOptions],
    ) -> Registering:
        """Register the decorated function as the handler of ``task_type``.

        ``options`` are what its tasks are scheduled with unless the caller says otherwise. With ``cron`` or
        ``every`` they declare a schedule, which workers keep in step with the table.
        ``executor="process"`` runs the function in a child process, which may be given a ``memory_limit`` (bytes, or
        text as ``"512MB"``). ``transactional`` runs it in a transaction, ``ctx.connection``, which is committed with
        the task's outcome. ``strict`` refuses an INSERT whose payload does not fit, once a worker has registered the
        handler. Raises InvalidTask for an option that makes no sense, RegistrationError for a name that is taken, an
        unknown executor or a senseless limit, and a transactional handler that asks for no context.
        """
        TaskSpec(task_type=task_type, **options)

        def register(function: Callable[P, R]) -> TaskHandle[P, R]:
            handler = self.registry.register(
                task_type,
                function,
                options,
                executor=executor,
                memory_limit=memory_limit,
                transactional=transactional,
                strict=strict,
            )
            return TaskHandle(self, handler)

        return cast("Registering", register)

    def on(self, event: str) -> Callable[[Hook], Hook]:
        """Call the decorated function (plain or ``async``) in workers, with an Event, after what ``event`` says.

        ``started``: a handler begins; ``completed``; ``failed``: the attempt failed and another follows; ``dead``: it
        failed for good. Raises RegistrationError for any other word.
        """

        def register(function: Hook) -> Hook:
            self.hooks.add(event, function)
            return function

        return register

    def client(self) -> Client:
        """Return the app's client for threads, the same each time."""
        with self._lock:
            if self._client is None:
                self._client = Client(self.dsn, defaults=self.defaults, tracing=self.tracing, payloads=self.registry)
            return self._client

    def async_client(self) -> AsyncClient:
        """Return the app's client for event loops, the same each time."""
        with self._lock:
            if self._async_client is None:
                self._async_client = AsyncClient(
                    self.dsn, defaults=self.defaults, tracing=self.tracing, payloads=self.registry
                )
            return self._async_client

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

    def defaults(self, task_type: str) -> TaskOptions:
        """Return the options that tasks of a type have unless the caller says otherwise (called by pgsched)."""
        handler = self.registry.get(task_type)
        return TaskOptions() if handler is None else handler.defaults
