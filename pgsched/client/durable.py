# Generated from async_durable.py by `make sync`: change that file instead.
"""What clients do with durable tasks: the events that are sent to them, what they have recorded, restarts."""

from __future__ import annotations

from typing import Any

from pgsched.client.tasks import TaskClient
from pgsched.db.external import Joined
from pgsched.db.queries import durable as durable_commands
from pgsched.domain.durable_records import DurableEvent, DurableRun, DurableStep


class DurableClient(TaskClient):
    """The part of :class:`pgsched.Client`."""

    def emit(
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

        The event is kept until a wait takes it, whether the task waits already or not; of several of one name each wait
        takes one, the oldest first. A second one of the same name and ``event_key`` is not stored, and the id of the
        first is returned. ``payload`` is any JSON value of at most 1 MiB.

        With a ``connection``, as :meth:`schedule` takes it, the event is part of that connection's transaction, and a
        ``key`` is looked up in it. Raises InvalidTask, TaskNotFound, and TransitionRefused for a task that is completed
        or cancelled.
        """
        return self._run(durable_commands.emit(id, name, payload, key=key, event_key=event_key), connection)

    def restart(
        self, id: int | None = None, from_step: str | None = None, *, key: str | None = None, from_key: str = ""
    ) -> None:
        """Run a durable task afresh and now, or from the step ``from_step`` (and ``from_key``) on.

        What was recorded before that step is kept, what was recorded later is forgotten. Children that the task still
        waits for are cancelled, as a cancel would; events that were taken stay taken. Raises TaskNotFound, also for a
        step that is not recorded, and TransitionRefused while the task runs, when it is completed, or has recorded
        nothing.
        """
        self._database.run(durable_commands.restart(self._id(id, key), from_step, from_key))

    def durable_run(self, id: int | None = None, *, key: str | None = None) -> DurableRun | None:
        """Return the run of a durable task, with what it waits for; None before it has recorded anything, and after."""
        return self._database.run(durable_commands.get_run(self._id(id, key)))

    def durable_steps(
        self, id: int | None = None, *, key: str | None = None, all_runs: bool = False, limit: int = 10_000
    ) -> list[DurableStep]:
        """Return what the latest run of a durable task has recorded, in the order in which it began.

        With ``all_runs`` that of every run that is kept, the latest run first. Also of a task that was deleted.
        """
        return self._database.run(durable_commands.list_steps(self._id(id, key), all_runs=all_runs, limit=limit))

    def durable_events(
        self, id: int | None = None, *, key: str | None = None, limit: int = 1_000
    ) -> list[DurableEvent]:
        """Return the last events that were sent to a durable task, in their order, also those that a wait took."""
        return self._database.run(durable_commands.list_events(self._id(id, key), limit=limit))
