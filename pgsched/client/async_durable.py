"""Client methods for durable tasks: send events, read what they have recorded, restart them."""

from __future__ import annotations

from typing import Any

from pgsched.client.async_tasks import AsyncTaskClient
from pgsched.db.external import Joined
from pgsched.db.queries import durable as durable_commands
from pgsched.domain.durable_records import DurableEvent, DurableRun, DurableStep


class AsyncDurableClient(AsyncTaskClient):
    """The part of :class:`pgsched.AsyncClient`."""

    async def emit(
        self,
        id: int | None = None,
        name: str = "",
        payload: Any = None,
        *,
        key: str | None = None,
        event_key: str | None = None,
        connection: Joined | None = None,
    ) -> int:
        """Send an event to a durable task and return the id of the event: a wait for ``name`` returns ``payload``.

        The event is kept until a wait consumes it, whether the task already waits or not; each wait consumes one event
        of its name, the oldest first. A second event of the same name and ``event_key`` is not stored, and the id of
        the first is returned. ``payload`` is any JSON value of at most 1 MiB.

        With a ``connection``, as in :meth:`schedule`, the event joins that connection's transaction, and a ``key`` is
        looked up in it. Raises InvalidTask, TaskNotFound, and TransitionRefused for a task that is completed or
        cancelled.
        """
        return await self._run(durable_commands.emit(id, name, payload, key=key, event_key=event_key), connection)

    async def restart(
        self, id: int | None = None, from_step: str | None = None, *, key: str | None = None, from_key: str = ""
    ) -> None:
        """Run a durable task now from the start, or from the step ``from_step`` (and ``from_key``).

        Records before that step are kept, later ones deleted. Children that the task still waits for are cancelled;
        consumed events stay consumed. Raises TaskNotFound, also for a step that is not recorded, and TransitionRefused
        while the task runs, when it is completed, or when it has recorded nothing.
        """
        await self._database.run(durable_commands.restart(await self._id(id, key), from_step, from_key))

    async def durable_run(self, id: int | None = None, *, key: str | None = None) -> DurableRun | None:
        """Return the run of a durable task, with what it waits for; None before its first record, and after its end."""
        return await self._database.run(durable_commands.get_run(await self._id(id, key)))

    async def durable_steps(
        self, id: int | None = None, *, key: str | None = None, all_runs: bool = False, limit: int = 10_000
    ) -> list[DurableStep]:
        """Return the records of the latest run of a durable task, in the order in which they started.

        With ``all_runs``, those of every run that is kept, the latest run first. Works for deleted tasks too.
        """
        return await self._database.run(
            durable_commands.list_steps(await self._id(id, key), all_runs=all_runs, limit=limit)
        )

    async def durable_events(
        self, id: int | None = None, *, key: str | None = None, limit: int = 1_000
    ) -> list[DurableEvent]:
        """Return the last events sent to a durable task, in order, including those that a wait has consumed."""
        return await self._database.run(durable_commands.list_events(await self._id(id, key), limit=limit))
