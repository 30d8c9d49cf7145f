"""Client methods for one task, identified by its id or by its idempotency key."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Unpack

from pgsched.concurrency.async_primitives import sleep
from pgsched.db.async_database import AsyncDatabase
from pgsched.db.async_enlist import run_on_async
from pgsched.db.external import Joined
from pgsched.db.queries import tasks as task_commands
from pgsched.db.query import MAX_LIMIT, Command, T
from pgsched.domain.attempt import GROUP
from pgsched.domain.errors import TaskFailed
from pgsched.domain.pages import PagedList
from pgsched.domain.records import Execution, LogEntry, MissedTicks, Task
from pgsched.domain.task_spec import Payloads, TaskOptions
from pgsched.domain.task_status import TaskStatus, latest
from pgsched.domain.task_tree import TaskNode
from pgsched.domain.validation import Duration
from pgsched.domain.wait import Waiting
from pgsched.domain.workflow import checked_group


class AsyncTaskClient:
    """The part of :class:`pgsched.AsyncClient`: every method takes a task's ``id``, or its ``key`` instead.

    A key names the task that has it, or had it when it was deleted from pgsched.tasks. It is looked up first, by a
    separate statement. Raises TaskNotFound for a key that no task has, InvalidTask when neither or both are given.
    """

    _database: AsyncDatabase
    _payloads: Payloads | None

    async def task_id(self, key: str) -> int:
        """Return the id of the task with an idempotency key. Raises TaskNotFound."""
        return await self._database.run(task_commands.find_id(key))

    async def get(self, id: int | None = None, *, key: str | None = None) -> Task:
        """Return a task. Raises TaskNotFound."""
        return await self._database.run(task_commands.get(await self._id(id, key)))

    async def version(self, id: int | None = None, *, key: str | None = None) -> str:
        """Return the version of a task, which changes with each edit but not with what workers do with the task.

        Read it before the task, or both by :meth:`status`, and pass it to :meth:`update`. Raises TaskNotFound.
        """
        return await self._database.run(task_commands.get_version(await self._id(id, key)))

    async def status(self, id: int | None = None, *, key: str | None = None, limit: int = 10) -> TaskStatus:
        """Return a task with its schedule in words, its next runs and its last executions. Raises TaskNotFound.

        For a waiting durable task it includes what it waits for and until when.
        """
        id = await self._id(id, key)
        stand = await self._database.run(task_commands.stand(id))  # first: its version must not be newer than the task
        task = await self.get(id)
        missed = await self.missed_ticks(id, limit=limit)
        executions = latest(await self.executions(id, limit=min(limit + 1, MAX_LIMIT)), limit)  # one may be in progress
        alerts = await self._database.run(task_commands.list_alerts(id)) if task.is_watched else []
        return stand.status_of(task, executions, missed, alerts)

    async def tree(self, id: int | None = None, *, key: str | None = None) -> TaskNode:
        """Return a task with the steps of its group, its dependencies and its dependents. Raises TaskNotFound."""
        return await self._database.run(task_commands.tree(await self._id(id, key)))

    async def executions(
        self,
        task_id: int | None = None,
        *,
        key: str | None = None,
        limit: int = 20,
        before: tuple[int, datetime] | None = None,
        cursor: str | None = None,
    ) -> PagedList[Execution]:
        """Return the last attempts at a task, the latest first; works for deleted tasks too.

        While the task runs, the first one is in progress: it has a worker and a start, but no end.

        For the next page pass the ``(fencing_token, started_at)`` of the last one as ``before``, or ``cursor``.
        """
        return await self._database.run(
            task_commands.executions(await self._id(task_id, key), limit=limit, before=before, cursor=cursor)
        )

    async def missed_ticks(
        self, task_id: int | None = None, *, key: str | None = None, limit: int = 20
    ) -> list[MissedTicks]:
        """Return the ticks of a schedule that were not run, with the reasons, the latest first."""
        return await self._database.run(task_commands.missed_ticks(await self._id(task_id, key), limit=limit))

    async def logs(
        self,
        task_id: int | None = None,
        *,
        key: str | None = None,
        limit: int = 200,
        level: str | None = None,
        cursor: str | None = None,
    ) -> PagedList[LogEntry]:
        """Return the last lines that a task's handler logged, in order; pass ``next_cursor`` for earlier ones.

        ``level``: lines of this level (debug, info, warning, error, critical) and above. Raises InvalidTask.
        """
        id = await self._id(task_id, key)
        return await self._database.run(task_commands.logs(id, limit=limit, level=level, cursor=cursor))

    async def update(
        self,
        id: int | None = None,
        payload: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        if_version: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        """Change the given options of a task; None clears one. A run in progress is not affected.

        With ``if_version``, VersionConflict is raised and nothing changed when somebody has edited the task since it
        had that :meth:`version`.

        The client of an app encodes and checks the payload by the annotations of the task's handler, like ``schedule``.

        An edited schedule is recomputed; ``at`` and ``delay`` move a waiting one-time task. Raises InvalidTask,
        TaskNotFound, and TransitionRefused when a schedule is cancelled or given a time of its own, or a started task
        other dependencies.
        """
        id = await self._id(id, key)
        payload = await self._encoded(id, payload)
        await self._database.run(task_commands.update(id, payload, options, if_version=if_version))

    async def wait(self, id: int | None = None, timeout: Duration | None = None, *, key: str | None = None) -> Any:
        """Wait until a task completes and return its result; for a schedule, that of its next completed tick.

        It polls after 10 ms, then with growing pauses of up to half a second. Raises TaskFailed when the task is dead
        or cancelled, TimeoutError after ``timeout`` (seconds, or any duration), TaskNotFound.
        """
        id = await self._id(id, key)
        waiting = Waiting(id, timeout, clock=time.monotonic)
        while not await self._database.run(task_commands.watch(waiting)):
            await sleep(waiting.pause())
        if waiting.failed:
            raise TaskFailed(await self.get(id))
        return waiting.result

    async def run_now(self, id: int | None = None, *, key: str | None = None, run_by: str | None = None) -> int:
        """Make a waiting one-time task due now, or a copy of any other task; return the id that runs.

        ``run_by`` records who asked: it is the ``created_by`` of the copy, and appears with its attempts in the history
        of the task. It defaults to the database role. Raises TaskNotFound, and TransitionRefused when it already runs.
        """
        return await self._database.run(task_commands.run_now(await self._id(id, key), run_by=run_by))

    async def enable(self, id: int | None = None, *, key: str | None = None, catch_up: bool = True) -> bool:
        """Enable a paused task; return whether it was paused. Raises TaskNotFound.

        Ticks of a schedule that passed meanwhile follow its ``on_missed``; without ``catch_up`` none of them runs.
        """
        return await self._database.run(task_commands.enable(await self._id(id, key), catch_up=catch_up))

    async def disable(self, id: int | None = None, *, key: str | None = None) -> bool:
        """Pause a task; return whether it was active. Raises TaskNotFound."""
        return await self._database.run(task_commands.disable(await self._id(id, key)))

    async def cancel(self, id: int | None = None, *, key: str | None = None) -> None:
        """Cancel a task, even while it runs; for a group, first the steps that have not ended.

        Raises TaskNotFound, and TransitionRefused when it is over.
        """
        await self._database.run(task_commands.cancel(await self._id(id, key)))

    async def retry(
        self, id: int | None = None, *, key: str | None = None, payload: Mapping[str, Any] | None = None
    ) -> None:
        """Give a dead or cancelled task, or one that waits for its backoff, all its attempts again, due now.

        With a ``payload`` it has that one from now on, checked like in :meth:`update`. A group starts again with all
        its steps; a retried step continues its group. Raises TaskNotFound, and TransitionRefused in any other status.
        """
        id = await self._id(id, key)
        await self._database.run(task_commands.retry(id, await self._encoded(id, payload)))

    async def delete(self, id: int | None = None, *, key: str | None = None, if_version: str | None = None) -> None:
        """Delete a task; its history remains. ``if_version`` is as in :meth:`update`.

        Raises TaskNotFound, VersionConflict, and TransitionRefused while it runs.
        """
        await self._database.run(task_commands.delete(await self._id(id, key), if_version=if_version))

    async def _encoded(self, id: int, payload: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return a task's payload in JSON form, where the app knows the type of the task."""
        if payload is None or self._payloads is None or not isinstance(payload, Mapping):
            return payload
        task_type = (await self.get(id)).task_type
        if task_type == GROUP:
            return checked_group(payload, payloads=self._payloads)
        return self._payloads.encode(task_type, payload)

    async def _run(self, command: Command[T], connection: Joined | None) -> T:
        return await (self._database.run(command) if connection is None else run_on_async(connection, command))

    async def _id(self, id: int | None, key: str | None) -> int:
        if id is None and key is not None:
            return await self.task_id(key)
        return task_commands.only_id(id, key)
