"""The handlers of a program, and the client that knows them."""

from __future__ import annotations

import functools
import importlib
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack, cast

from pgsched.app.router import Router
from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.concurrency import fork_guard
from pgsched.db.external import Joined
from pgsched.domain.errors import PayloadMismatch, RegistrationError
from pgsched.domain.scheduled import OnConflict, Scheduled, updates
from pgsched.domain.settings import WorkerSettings, app_version, capture_level, dsn_from
from pgsched.domain.task_spec import OPTION_NAMES, TaskOptions, spec_with
from pgsched.execution.registry import Handler
from pgsched.execution.surroundings import Surroundings
from pgsched.observability.extras import load_tracing

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from pgsched.observability.tracing import Tracing
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
                self._client = Client(self.dsn, defaults=self.defaults_of, tracing=self.tracing)
            return self._client

    def async_client(self) -> AsyncClient:
        """Return the app's client for event loops, the same each time."""
        with self._lock:
            if self._async_client is None:
                self._async_client = AsyncClient(self.dsn, defaults=self.defaults_of, tracing=self.tracing)
            return self._async_client

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


class TaskHandle(Generic[P, R]):
    """A handler as the module that defines it sees it: still the function, and a way to schedule it."""

    def __init__(self, router: Router, handler: Handler) -> None:
        self._router = router
        self.handler = handler
        functools.update_wrapper(self, handler.function)

    @property
    def app(self) -> App:
        """The app that has it: the one that included its router. Raises RegistrationError if none did."""
        if not isinstance(app := self._router.outermost, App):
            raise RegistrationError(
                f"handler {self.task_type!r} is of a router that no app has included: app.include(router) comes first"
            )
        return app

    def surroundings(self) -> Surroundings:
        """Return what is around the handler (called by pgsched)."""
        return self._router.outermost.surroundings()

    @property
    def task_type(self) -> str:
        """The type under which it is registered."""
        return self.handler.task_type

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, here and now."""
        return cast("R", self.handler.function(*args, **kwargs))

    def schedule(
        self,
        *,
        connection: Joined | None = None,
        payload: Mapping[str, Any] | None = None,
        on_conflict: OnConflict = "keep",
        **kwargs: Any,
    ) -> Scheduled:
        """Schedule a task for this handler and return its id.

        Arguments with the name of an option (``delay=``, ``queue=``, ...) are options, all others the
        payload; ``payload=`` gives it as a whole; ``on_conflict`` is that of :meth:`pgsched.client.Client.schedule`.
        Raises PayloadMismatch when it does not fit the function's signature, and everything that
        :meth:`pgsched.client.Client.schedule` raises.
        """
        payload, options = self._sort(connection, payload, kwargs, on_conflict)
        return self.app.client().schedule(
            self.task_type, payload, connection=connection, on_conflict=on_conflict, **options
        )

    async def schedule_async(
        self,
        *,
        connection: Joined | None = None,
        payload: Mapping[str, Any] | None = None,
        on_conflict: OnConflict = "keep",
        **kwargs: Any,
    ) -> Scheduled:
        """Schedule a task for this handler on the event loop; otherwise as :meth:`schedule`."""
        payload, options = self._sort(connection, payload, kwargs, on_conflict)
        client = self.app.async_client()
        return await client.schedule(self.task_type, payload, connection=connection, on_conflict=on_conflict, **options)

    def declare(self, payload: Mapping[str, Any] | None = None, **options: Unpack[TaskOptions]) -> None:
        """Declare a schedule of this handler: workers keep it in step with the table, like one of the decorator.

        A handler may have any number; each has a ``name`` of its own, by which its row is found. Options that are left
        out are the handler's. Raises InvalidTask, PayloadMismatch, and RegistrationError for no ``cron`` or ``every``,
        no name, and a name that the handler has declared already.
        """
        spec = spec_with(self.task_type, payload, options, self._router.defaults_of)
        self.handler = self._router.registry.declare(spec)

    def _sort(
        self,
        connection: object,
        payload: Mapping[str, Any] | None,
        arguments: Mapping[str, Any],
        on_conflict: OnConflict,
    ) -> tuple[Mapping[str, Any], TaskOptions]:
        """The payload and the options."""
        options = {name: value for name, value in arguments.items() if name in OPTION_NAMES}
        others = {name: value for name, value in arguments.items() if name not in OPTION_NAMES}
        if payload is None:
            own = {"connection": connection is not None, "on_conflict": updates(on_conflict)}
            taken = options.keys() | {name for name, given in own.items() if given}
            if both := sorted(taken & self.handler.parameters):
                raise PayloadMismatch(
                    f"{self.task_type!r}: {both[0]} is both an argument of the handler and an option of "
                    f"schedule: give the handler's as payload={{{both[0]!r}: ...}}"
                )
            payload = others
        elif others:
            raise PayloadMismatch(
                f"{self.task_type!r}: {', '.join(sorted(others))} must be in payload, since that is given"
            )
        self.handler.check(payload)
        return payload, cast("TaskOptions", options)
