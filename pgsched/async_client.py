"""The client for programs with an event loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from pgsched.client import Defaults, no_defaults, spec_with, specs_with
from pgsched.db import commands
from pgsched.db.database import AsyncDatabase
from pgsched.records import Execution, LogEntry, MissedTicks, QueueInfo, Stats, Task, WorkerInfo
from pgsched.spec import Duration, TaskOptions, TaskSpec
from pgsched.status import TaskStatus, status_of

if TYPE_CHECKING:
    from psycopg import AsyncConnection


class AsyncClient:
    """A client for event loops: the methods of :class:`Client`, to be awaited.

    Close it when done, or use it in an ``async with``.
    """

    def __init__(self, dsn: str = "", *, pool_size: int = 4, defaults: Defaults = no_defaults) -> None:
        self._database = AsyncDatabase(dsn=dsn, pool_size=pool_size)
        self._defaults = defaults

    async def schedule(
        self,
        task_type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        connection: AsyncConnection[Any] | None = None,
        **options: Unpack[TaskOptions],
    ) -> int:
        """Schedule a task and return its id; a known ``idempotency_key`` returns the task that has it.

        With a ``connection`` the task is part of that connection's transaction and comes with its commit,
        which is left to the caller. Raises InvalidTask, naming option, rule and value.
        """
        command = commands.schedule(spec_with(task_type, payload, options, self._defaults))
        return (
            await self._database.run(command)
            if connection is None
            else await self._database.run_on(connection, command)
        )

    async def schedule_many(
        self, specs: Iterable[TaskSpec], *, connection: AsyncConnection[Any] | None = None
    ) -> list[int]:
        """Schedule many tasks at once, by COPY, and return their ids in order: all of them or none.

        Idempotency keys and ``connection`` work as in :meth:`schedule`. Raises InvalidTask that names the
        place of the task (from 0) and the rule.
        """
        complete = specs_with(specs, self._defaults)
        if connection is None:
            return await self._database.insert(complete)
        return await self._database.insert_on(connection, complete)

    async def get(self, id: int) -> Task:
        """Return a task. Raises TaskNotFound."""
        return await self._database.run(commands.get(id))

    async def list_tasks(
        self,
        *,
        queue: str | None = None,
        task_type: str | None = None,
        status: str | None = None,
        schedule_type: str | None = None,
        tag: str | None = None,
        tenant_id: str | None = None,
        parent_id: int | None = None,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[Task]:
        """Return the latest tasks that fit, the latest first; the next page comes ``before_id`` the last."""
        return await self._database.run(
            commands.list_tasks(
                queue=queue,
                task_type=task_type,
                status=status,
                schedule_type=schedule_type,
                tag=tag,
                tenant_id=tenant_id,
                parent_id=parent_id,
                limit=limit,
                before_id=before_id,
            )
        )

    async def update(self, id: int, payload: Mapping[str, Any] | None = None, **options: Unpack[TaskOptions]) -> None:
        """Change the given options of a task; None empties one. See :meth:`Client.update`."""
        await self._database.run(commands.update(id, payload, options))

    async def run_now(self, id: int) -> int:
        """Make a waiting one-time task due now, or a copy of any other; return the id that runs.

        Raises TaskNotFound, and TransitionRefused when it runs already.
        """
        return await self._database.run(commands.run_now(id))

    async def enable(self, id: int) -> bool:
        """Let a paused task run again; whether it was paused. Raises TaskNotFound."""
        return await self._database.run(commands.enable(id))

    async def disable(self, id: int) -> bool:
        """Pause a task; whether it was not paused before. Raises TaskNotFound."""
        return await self._database.run(commands.disable(id))

    async def cancel(self, id: int) -> None:
        """Stop a task for good, also while it runs.

        Raises TaskNotFound, and TransitionRefused when it is over.
        """
        await self._database.run(commands.cancel(id))

    async def retry(self, id: int) -> None:
        """Give a dead or cancelled task, or one that waits for its backoff, all its attempts again, due now.

        Raises TaskNotFound, and TransitionRefused in any other status.
        """
        await self._database.run(commands.retry(id))

    async def delete(self, id: int) -> None:
        """Delete a task; its history stays. Raises TaskNotFound, and TransitionRefused while it runs."""
        await self._database.run(commands.delete(id))

    async def executions(self, task_id: int, *, limit: int = 20) -> list[Execution]:
        """Return the last attempts at a task, the latest first; also of a task that was deleted."""
        return await self._database.run(commands.executions(task_id, limit=limit))

    async def missed_ticks(self, task_id: int, *, limit: int = 20) -> list[MissedTicks]:
        """Return the ticks of a schedule that were not run, and why, the latest first."""
        return await self._database.run(commands.missed_ticks(task_id, limit=limit))

    async def status(self, id: int, *, limit: int = 10) -> TaskStatus:
        """Return a task with its schedule in words, its next runs and its last executions. Raises TaskNotFound."""
        task = await self.get(id)
        executions = await self.executions(id, limit=limit)
        return status_of(task, executions, await self.missed_ticks(id, limit=limit))

    async def logs(self, task_id: int, *, limit: int = 200) -> list[LogEntry]:
        """Return the last lines that a task's handler logged, in their order."""
        return await self._database.run(commands.logs(task_id, limit=limit))

    async def dead(
        self,
        *,
        queue: str | None = None,
        task_type: str | None = None,
        limit: int = 50,
        before: tuple[datetime, int] | None = None,
    ) -> list[Task]:
        """Return the tasks that died last, the latest first.

        The next page comes ``before`` the ``(died_at, id)`` of the last one.
        """
        return await self._database.run(commands.dead(queue=queue, task_type=task_type, limit=limit, before=before))

    async def retry_dead(self, *, queue: str | None = None, task_type: str | None = None) -> int:
        """Give all dead tasks that fit all their attempts again, due now; return how many."""
        return await self._database.run(commands.retry_dead(queue=queue, task_type=task_type))

    async def purge_dead(
        self, *, queue: str | None = None, task_type: str | None = None, older_than: Duration | None = None
    ) -> int:
        """Delete the dead tasks that fit and have been dead for ``older_than``; return how many."""
        command = commands.purge_dead(queue=queue, task_type=task_type, older_than=older_than)
        return await self._database.run(command)

    async def queues(self) -> list[QueueInfo]:
        """Return every queue that has settings, tasks or a worker."""
        return await self._database.run(commands.queues())

    async def pause_queue(self, name: str) -> None:
        """Claim nothing more of a queue; what runs goes on."""
        await self._database.run(commands.pause_queue(name))

    async def resume_queue(self, name: str) -> None:
        """Claim again from a paused queue."""
        await self._database.run(commands.resume_queue(name))

    async def workers(self) -> list[WorkerInfo]:
        """Return every worker process."""
        return await self._database.run(commands.workers())

    async def stats(self) -> Stats:
        """Return queues, workers, and what is due without a worker that has a handler for it."""
        run = self._database.run
        return Stats(
            queues=await run(commands.queues()),
            workers=await run(commands.workers()),
            unhandled=await run(commands.unhandled()),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
