"""Client methods for workers: list what each runs, pause, resume and drain them."""

from __future__ import annotations

from uuid import UUID

from pgsched.db.async_database import AsyncDatabase
from pgsched.db.queries import activity as activity_commands
from pgsched.db.queries import workers as worker_commands
from pgsched.db.queries.activity import RunningTask
from pgsched.domain.worker_records import WorkerInfo


class AsyncWorkerClient:
    """The part of :class:`pgsched.AsyncClient`."""

    _database: AsyncDatabase

    async def workers(self) -> list[WorkerInfo]:
        """Return every worker process."""
        return await self._database.run(worker_commands.workers())

    async def running_tasks(self, worker: UUID | str | None = None) -> list[RunningTask]:
        """Return the running tasks of all workers or of one, the longest first: at most 200.

        They are read from the first 500 rows of each queue and priority that are due. Tasks that take a few
        milliseconds may be missing.
        """
        return await self._database.run(activity_commands.list_running(worker))

    async def pause_worker(self, worker: UUID | str, *, requested_by: str | None = None) -> bool:
        """Request that a worker claims nothing more until it is resumed; its tasks still run.

        The worker obeys within about two seconds, or at its next heartbeat where notifications do not reach it; its
        ``state`` shows when it has. Raises WorkerNotFound, and TransitionRefused for a worker of an older pgsched.
        """
        return await self._database.run(worker_commands.ask_worker(worker, "pause", requested_by))

    async def drain_worker(self, worker: UUID | str, *, requested_by: str | None = None) -> bool:
        """Request that a worker claims nothing more, finishes its tasks, and exits with code 0.

        Raises like :meth:`pause_worker`.
        """
        return await self._database.run(worker_commands.ask_worker(worker, "drain", requested_by))

    async def resume_worker(self, worker: UUID | str, *, requested_by: str | None = None) -> bool:
        """Let a worker claim again that is paused, or that drains and has not ended. Return whether it was.

        Raises like :meth:`pause_worker`.
        """
        return await self._database.run(worker_commands.ask_worker(worker, None, requested_by))
