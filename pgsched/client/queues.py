# Generated from async_queues.py by `make sync`: change that file instead.
"""What clients do with queues, the settings, and what is finished."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Unpack

from pgsched.concurrency.primitives import run_stoppable
from pgsched.db.database import Database
from pgsched.db.queries import queues as queue_commands
from pgsched.db.queries import settings as settings_commands
from pgsched.db.queries.queues import QueueLimits, QueueOptions
from pgsched.db.queries.settings import SettingsOptions
from pgsched.domain.records import Pruned, QueueInfo, QueueSettings, Settings, StatusCount

if TYPE_CHECKING:
    from pgsched.ops.prune import PruneOptions


class QueueClient:
    """The part of :class:`pgsched.Client`."""

    _database: Database

    def queues(self) -> list[QueueInfo]:
        """Return every queue that has settings, tasks or a worker."""
        return self._database.run(queue_commands.queues())

    def count_tasks(self, queue: str | None = None) -> list[StatusCount]:
        """Return how many tasks are in each status, in all queues or in one; many are estimated, and say so."""
        return self._database.run(queue_commands.count_tasks(queue))

    def queue(self, name: str) -> QueueSettings:
        """Return the settings of a queue; the defaults for one that nobody told anything. Raises InvalidTask."""
        return self._database.run(queue_commands.get_queue(name))

    def pause_queue(self, name: str, *, paused_by: str | None = None) -> None:
        """Claim nothing more of a queue; what runs goes on. ``paused_by``: who asks, if not the database's role."""
        self._database.run(queue_commands.pause_queue(name, paused_by))

    def resume_queue(self, name: str) -> None:
        """Claim again from a paused queue."""
        self._database.run(queue_commands.resume_queue(name))

    def limit_queue(self, name: str, **limits: Unpack[QueueLimits]) -> None:
        """Limit a queue over all workers, instead of the limits it had: ``concurrency`` (so many running at once) and
        ``rate`` (so many starts within ``per``, a second), and both ``_per_key`` (of each ``concurrency_key``).

        Raises InvalidTask, naming limit, rule and value.
        """
        self._database.run(queue_commands.limit_queue(name, limits))

    def unlimit_queue(self, name: str) -> bool:
        """Take the limits of a queue away; whether it had some."""
        return self._database.run(queue_commands.unlimit_queue(name))

    def set_queue(self, name: str, **options: Unpack[QueueOptions]) -> None:
        """Change settings of a queue: ``ordering`` (fifo, lifo), ``ageing`` (None is off), and what is kept of its
        finished tasks: ``retention``, ``retention_count``, ``dead_retention``, ``dead_retention_count``, ``archive``
        (None: as the settings say, ``"forever"``: all). ``retention=0``: a task leaves when it is completed, and only
        its history is kept. Raises InvalidTask.
        """
        self._database.run(queue_commands.set_queue(name, options))

    def set_queue_events(self, name: str, events: bool) -> None:
        """Tell other programs what happens to the tasks of a queue (the channel ``pgsched_events``), or no longer."""
        self._database.run(queue_commands.set_queue_events(name, events))

    def settings(self) -> Settings:
        """Return what holds for queues that say nothing else, and for the history."""
        return self._database.run(settings_commands.get_settings())

    def set_settings(self, **options: Unpack[SettingsOptions]) -> None:
        """Change the settings: those of :meth:`set_queue` about finished tasks, and ``history_retention`` (a day at
        least). None: nothing is deleted. Raises InvalidTask.
        """
        self._database.run(settings_commands.set_settings(options))

    def prune(self, **options: Unpack[PruneOptions]) -> Pruned:
        """Delete finished tasks and old history as the settings say, or as ``options`` say instead.

        Returns what was deleted. Each batch is committed by itself, on a connection of its own. Raises InvalidTask, and
        OSError of ``archive_dir``.
        """
        from pgsched.ops.prune import prune  # only here: nothing else deletes

        return run_stoppable(partial(prune, self._database.address(), options))
