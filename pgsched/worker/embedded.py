"""A worker inside another program, such as a web application or a notebook."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

from pgsched.app.app import App
from pgsched.concurrency.thread_pool import in_thread
from pgsched.db.dsn import pin, resolve_dsn
from pgsched.db.migrations.runner import WORKER_RIGHTS, check_schema
from pgsched.domain.settings import WorkerSettings
from pgsched.observability.logs import get_logger
from pgsched.worker.child_process import serve
from pgsched.worker.identity import with_own_queues
from pgsched.worker.loops import own_task
from pgsched.worker.traces import load_traces
from pgsched.worker.worker import Worker

log = get_logger("pgsched.worker")


class EmbeddedWorker:
    """A worker on the running event loop: it handles no signals and does not set up logging.

    ``async with app.worker(queues=["mail"]) as worker:`` starts it and, at the end, stops it by the rules of every
    worker, as do :meth:`start` and :meth:`stop`. It may be started again.
    """

    def __init__(
        self, app: App, settings: WorkerSettings, *, app_path: str | None = None, own_queues: bool = False
    ) -> None:
        self._app = app
        self._settings = replace(settings, capture_logs=settings.capture_logs or app.capture_logs)
        self._app_path = app_path
        self._own_queues = own_queues
        self._worker: Worker | None = None
        self._task: asyncio.Task[None] | None = None
        self._leave: Callable[[], None] = _nothing
        self._paused = False

    async def start(self) -> None:
        """Start working; returns when it claims.

        Raises RuntimeError when it has already been started, LifespanFailed, and the errors with which ``pgsched
        worker`` fails to start: ConfigError, SchemaMismatch, CopiedDatabase, DatabaseUnavailable, PermissionRefused.
        """
        if self._task is not None:
            raise RuntimeError("the worker has been started already")
        dsn, self._leave = await in_thread(partial(resolve_dsn, self._app.dsn), name="pgsched start")
        try:
            dsn = pin(dsn, os.environ)
            await in_thread(partial(check_schema, dsn, WORKER_RIGHTS, original=True), name="pgsched start")
            self._worker = worker = self._made(dsn)
            self._pass_on()
            self._task = own_task(worker.run(), name="pgsched worker")
            started = own_task(_started(worker), name="pgsched start")
            try:
                await asyncio.wait([self._task, started], return_when=asyncio.FIRST_COMPLETED)
            finally:
                started.cancel()
            if self._task.done():
                self._task.result()  # the error that it failed with
        except BaseException:
            await self._end()
            raise

    async def stop(self) -> None:
        """Give handlers ``shutdown_timeout`` to end, release the tasks that did not, and close everything.

        Raises LifespanFailed where that has ended the worker. Safe to call again.
        """
        await self._end()

    def pause(self) -> None:
        """Claim nothing more until :meth:`resume`; claimed tasks still run. Readiness then reports "paused"."""
        self._paused = True
        self._pass_on()

    def resume(self) -> None:
        """Claim again."""
        self._paused = False
        self._pass_on()

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        return self._paused

    @property
    def running(self) -> int:
        """The number of running tasks."""
        return 0 if self._worker is None else self._worker.executor.running

    def unready(self) -> str | None:
        """Return what keeps it from claiming, for a probe of the program; None when nothing does."""
        if self._worker is None or self._task is None or self._task.done():
            return "not started" if self._worker is None else "stopped"
        return self._worker.health.unready()

    @asynccontextmanager
    async def _living(self) -> AsyncIterator[dict[str, Self]]:
        async with self:
            yield {"worker": self}

    def lifespan(self, web: object) -> AbstractAsyncContextManager[dict[str, Self]]:  # noqa: ARG002
        """Return the lifespan of a web application: ``FastAPI(lifespan=app.worker().lifespan)``.

        Requests find the worker as ``request.state.worker``.
        """
        return self._living()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        except Exception:
            if error is None:
                raise
            log.exception("worker_failed")  # the program's own error takes precedence

    def _made(self, dsn: str) -> Worker:
        children = None
        if self._app_path is not None:
            capture_logs = self._settings.capture_logs or "off"
            children = partial(serve, app_path=self._app_path, log_level="warning", capture_logs=capture_logs)
        settings = self._settings
        if self._own_queues:
            settings = replace(settings, queues=with_own_queues(settings.queues, self._app.registry))
        return Worker(
            dsn=dsn,
            registry=self._app.registry,
            settings=settings,
            hooks=self._app.hooks,
            serve=children,
            traces=load_traces(self._app.tracing),
            surroundings=self._app.surroundings(),
        )

    def _pass_on(self) -> None:
        if self._worker is not None:
            self._worker.requests.pause_by_program(self._paused)

    async def _end(self) -> None:
        task, self._task = self._task, None
        worker = self._worker
        try:
            if task is not None and worker is not None:
                if not task.done():
                    worker.stop()
                await task
        finally:
            leave, self._leave = self._leave, _nothing
            await in_thread(leave, name="pgsched end")


async def _started(worker: Worker) -> None:
    await worker.progress.started.wait()


def _nothing() -> None:
    """We run no server of our own here."""
