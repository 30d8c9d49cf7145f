"""Client methods for queues, settings and retention."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Unpack

from pgsched.concurrency.async_primitives import run_stoppable
from pgsched.db.async_database import AsyncDatabase
from pgsched.db.queries import queues as queue_commands
from pgsched.db.queries import settings as settings_commands
from pgsched.db.queries.queues import QueueLimits, QueueOptions
from pgsched.db.queries.settings import SettingsOptions
from pgsched.domain.records import Pruned, QueueInfo, QueueSettings, Settings, StatusCount

if TYPE_CHECKING:
    from pgsched.ops.prune import PruneOptions


class AsyncQueueClient:
    """The part of :class:`pgsched.AsyncClient`."""

    _database: AsyncDatabase

    async def queues(self) -> list[QueueInfo]:
        """Return every queue that has settings, tasks or a worker."""
        return await self._database.run(queue_commands.queues())

    async def count_tasks(self, queue: str | None = None) -> list[StatusCount]:
        """Return the number of tasks in each status, in all queues or in one; large numbers are marked as estimates."""
        return await self._database.run(queue_commands.count_tasks(queue))

    async def queue(self, name: str) -> QueueSettings:
        """Return the settings of a queue; the defaults for one without any. Raises InvalidTask."""
        return await self._database.run(queue_commands.get_queue(name))

    async def pause_queue(self, name: str, *, paused_by: str | None = None) -> None:
        """Pause a queue: nothing more is claimed, running tasks continue. ``paused_by`` says who asked."""
        await self._database.run(queue_commands.pause_queue(name, paused_by))

    async def resume_queue(self, name: str) -> None:
        """Resume a paused queue."""
        await self._database.run(queue_commands.resume_queue(name))

    async def limit_queue(self, name: str, **limits: Unpack[QueueLimits]) -> None:
        """Replace the limits of a queue, across all workers: ``concurrency`` (tasks at once) and ``rate`` (starts
        within ``per``, by default a second), and both ``_per_key`` (for each ``concurrency_key``).

        Raises InvalidTask, naming limit, rule and value.
        """
        await self._database.run(queue_commands.limit_queue(name, limits))

    async def unlimit_queue(self, name: str) -> bool:
        """Remove the limits of a queue; return whether it had any."""
        return await self._database.run(queue_commands.unlimit_queue(name))

    async def set_queue(self, name: str, **options: Unpack[QueueOptions]) -> None:
        """Change settings of a queue: ``ordering`` (fifo, lifo), ``ageing`` (None turns it off), and retention of
        finished tasks: ``retention``, ``retention_count``, ``dead_retention``, ``dead_retention_count``, ``archive``
        (None uses the settings, ``"forever"`` keeps all). With ``retention=0`` a task is deleted when it completes, and
        only its history is kept. Raises InvalidTask.
        """
        await self._database.run(queue_commands.set_queue(name, options))

    async def set_queue_events(self, name: str, events: bool) -> None:
        """Announce what happens to the tasks of a queue (on the channel ``pgsched_events``), or stop doing so."""
        await self._database.run(queue_commands.set_queue_events(name, events))

    async def settings(self) -> Settings:
        """Return the settings for the history and for queues without settings of their own."""
        return await self._database.run(settings_commands.get_settings())

    async def set_settings(self, **options: Unpack[SettingsOptions]) -> None:
        """Change the settings: the retention settings of :meth:`set_queue`, and ``history_retention`` (at least a day).
        None deletes nothing. Raises InvalidTask.
        """
        await self._database.run(settings_commands.set_settings(options))

    async def prune(self, **options: Unpack[PruneOptions]) -> Pruned:
        """Delete finished tasks and old history by the settings, or by ``options`` instead.

        Returns what was deleted. Each batch is committed by itself, on a separate connection. Raises InvalidTask, and
        OSError from ``archive_dir``.
        """
        from pgsched.ops.prune import prune  # only here: nothing else deletes

        return await run_stoppable(partial(prune, await self._database.address(), options))
