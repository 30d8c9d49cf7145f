"""Client methods about types and errors, from statistics of upkeep, and for all tasks of an error."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Unpack

from pgsched.db.async_database import AsyncDatabase
from pgsched.db.queries import counted as counted_commands
from pgsched.db.queries import task_search
from pgsched.db.queries.counted import CountedOptions, DeadOfError, ErrorFilters
from pgsched.domain.counted import CountedTime, Deployment, ErrorStats, HistogramBin, TypeBucket, TypeStats
from pgsched.domain.errors import ErrorNotFound
from pgsched.domain.validation import Duration

Told = Callable[[int], object]
"""Called after each batch with the number of tasks changed so far."""


class AsyncCountedClient:
    """The part of :class:`pgsched.AsyncClient`.

    In each method ``within`` is the length of the period (5 minutes to 400 days), ``ago`` shifts it back (``"1d"``:
    yesterday), and ``queue`` limits it to a queue. A worker counts every minute: :meth:`counted_time` says up to when.
    Raises InvalidTask, naming option, rule and value.
    """

    _database: AsyncDatabase

    async def type_stats(self, task_type: str | None = None, **options: Unpack[CountedOptions]) -> list[TypeStats]:
        """Return what ended of each type, or of one, within an hour or ``within``: throughput, failures, quantiles."""
        return await self._database.run(counted_commands.type_stats(task_type, **options))

    async def type_history(self, task_type: str | None = None, **options: Unpack[CountedOptions]) -> list[TypeBucket]:
        """Return what ended of a type, or of all, in each bucket of the period (5 minutes to a day)."""
        return await self._database.run(counted_commands.type_history(task_type, **options))

    async def type_histogram(
        self, task_type: str | None = None, **options: Unpack[CountedOptions]
    ) -> list[HistogramBin]:
        """Return how long attempts at a type, or at all, ran and waited: the number in each non-empty bin."""
        return await self._database.run(counted_commands.type_histogram(task_type, **options))

    async def counted_time(self, **options: Unpack[CountedOptions]) -> CountedTime:
        """Return the buckets of a period, and up to when the history is counted."""
        return await self._database.run(counted_commands.counted_time(**options))

    async def deployments(self, *, since: datetime, until: datetime, task_type: str | None = None) -> list[Deployment]:
        """Return when versions of the code became the newest of the register, the latest first."""
        return await self._database.run(counted_commands.deployments(since=since, until=until, task_type=task_type))

    async def errors(self, **filters: Unpack[ErrorFilters]) -> list[ErrorStats]:
        """Return the errors with which attempts failed within a day or ``within``, the most frequent first.

        Errors are the same when their exceptions are, and their messages apart from numbers, ids, quoted texts and
        times.
        """
        return await self._database.run(counted_commands.errors(**filters))

    async def error(self, id: str, *, within: Duration = "90d") -> ErrorStats:
        """Return one group of errors. Raises ErrorNotFound when nothing failed with it in this period."""
        found = await self._database.run(counted_commands.error(id, within=within))
        if found is None:
            raise ErrorNotFound(f"no error {id!r} within {within}")
        return found

    async def count_dead_of_error(self, id: str, *, most: int | None = None) -> int:
        """Count the dead tasks that died of an error; with ``most`` stop at that number.

        Raises ErrorNotFound, and InvalidTask for ``other``.
        """
        following = counted_commands.dead_of_error(await self.error(id))
        number, done = 0, None
        while done is None or (done.last is not None and (most is None or number < most)):
            done = await self._database.run(following(done))
            number += len(done.ids)
        return number if most is None else min(number, most)

    async def retry_error(self, id: str, *, on_progress: Told | None = None) -> int:
        """Give all dead tasks that died of an error all their attempts again, due now; return how many.

        1,000 tasks per transaction: after an interruption finished transactions remain, and a second call continues.
        Tasks that die meanwhile are left alone. Raises ErrorNotFound, and InvalidTask for ``other``.
        """
        return await self._change_dead_of_error("retry", id, on_progress)

    async def delete_error(self, id: str, *, on_progress: Told | None = None) -> int:
        """Delete all dead tasks that died of an error; return how many. In batches, like :meth:`retry_error`."""
        return await self._change_dead_of_error("delete", id, on_progress)

    async def _change_dead_of_error(self, action: str, id: str, told: Told | None) -> int:
        following = counted_commands.dead_of_error(await self.error(id))
        number = 0
        done: DeadOfError | None = None
        while done is None or done.last is not None:
            done = await self._database.run(following(done))
            for chunk in task_search.chunks(done.ids, task_search.BATCH):
                async with self._database.transaction() as one:
                    still = await one.run(
                        task_search.find_ids({"ids": list(chunk), "status": ["dead"]}, limit=len(chunk), before_id=None)
                    )
                    changed = await one.run(task_search.change_tasks(action, still.ids, dry_run=False))
                number += len(changed)
                if told is not None:
                    told(number)
        return number
