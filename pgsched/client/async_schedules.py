"""Client methods for the ticks of schedules, for calendars, and previews that use them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Unpack

from pgsched.client.async_tasks import AsyncTaskClient
from pgsched.concurrency.async_primitives import run_blocking
from pgsched.db.async_database import AsyncDatabase
from pgsched.db.queries import schedules as schedule_commands
from pgsched.db.queries import tasks as task_commands
from pgsched.domain.pages import PagedList
from pgsched.domain.records import Task
from pgsched.domain.scheduled import BackfillTick, SkippedTick
from pgsched.domain.scheduling.calendars import Calendar
from pgsched.domain.scheduling.preview import PreviewOptions, calendars_of, preview
from pgsched.domain.validation import Duration

if TYPE_CHECKING:
    from pgsched.db.queries.upcoming import Asking, Found
    from pgsched.domain.scheduling.timeline import Timeline


async def answered(database: AsyncDatabase, asking: Asking) -> Found:
    """Run the queries, one command after the other, and return the results."""
    answer: Any = None
    while True:
        try:
            command = asking.send(answer)
        except StopIteration as over:
            found: Found = over.value
            return found
        answer = await database.run(command)


class AsyncScheduleClient(AsyncTaskClient):
    """The part of :class:`pgsched.AsyncClient`."""

    async def skip_next(self, id: int | None = None, *, key: str | None = None) -> SkippedTick:
        """Skip the next tick of a schedule, even a paused one; call again for one more. It is recorded as missed.

        Raises TaskNotFound, and TransitionRefused for a one-time task, while the schedule runs, and when it is over.
        """
        return await self._database.run(schedule_commands.skip_next(await self._id(id, key)))

    async def backfill(
        self,
        id: int | None,
        since: datetime,
        until: datetime,
        *,
        key: str | None = None,
        max_ticks: int = 100,
        dry_run: bool = False,
    ) -> list[BackfillTick]:
        """Run the ticks of a schedule from ``since`` to ``until``, inclusive, and return the outcome of each.

        Each is a task of its own, due now; ticks that must not overlap run one after the other. Those that have run,
        and those that the schedule will still run itself, are left alone. ``dry_run`` only lists them. Raises
        TaskNotFound, TransitionRefused for a one-time or cancelled task, and InvalidTask for a range in the future or
        with more than ``max_ticks``.
        """
        command = schedule_commands.backfill(
            await self._id(id, key), since, until, max_ticks=max_ticks, dry_run=dry_run
        )
        return await self._database.run(command)

    async def replan(self, id: int | None = None, *, key: str | None = None) -> datetime | None:
        """Compute the next tick of a schedule anew; return when it is due, None when it is over.

        Raises TaskNotFound, and TransitionRefused while it runs, once it was cancelled, and for a one-time task.
        """
        return await self._database.run(schedule_commands.replan(await self._id(id, key)))

    async def replan_all(self) -> int:
        """Compute the next tick of all waiting schedules anew, and of ended ones with a tick to come."""
        return await self._database.run(schedule_commands.replan_all())

    async def calendars(self) -> list[Calendar]:
        """Return every calendar: its dates, and the number of schedules that use it."""
        return await self._database.run(schedule_commands.list_calendars())

    async def set_calendar(self, name: str, days: Iterable[str | date]) -> str:
        """Create a calendar or replace its dates; return ``created`` or ``replaced``.

        Dates are of every year, such as ``"12-25"``, or of one year, such as ``"2030-04-19"`` or a date object. The
        schedules that use it are recomputed. Raises InvalidTask.
        """
        return await self._database.run(schedule_commands.set_calendar(name, days))

    async def delete_calendar(self, name: str) -> None:
        """Delete a calendar. Raises CalendarNotFound, and TransitionRefused while a cron expression uses it."""
        await self._database.run(schedule_commands.delete_calendar(name))

    async def calendar_days(self, cron: str | None) -> dict[str, list[str]]:
        """Return the dates of each calendar that a cron expression names; without any there is no query."""
        names = calendars_of(cron)
        return await self._database.run(schedule_commands.find_days(names)) if names else {}

    async def upcoming(
        self,
        within: Duration = "24h",
        *,
        queue: str | None = None,
        limit: int = 100,
        after: tuple[datetime, int] | None = None,
        cursor: str | None = None,
    ) -> PagedList[Task]:
        """Return what will run from now until ``within`` has passed, the earliest first, by ``next_run_at``.

        One-time tasks and schedules, each schedule once, without tasks that are due already, wait for others or are
        paused. For the next page pass the ``(next_run_at, id)`` of the last one as ``after``, or ``cursor``. Raises
        InvalidTask.
        """
        command = task_commands.upcoming(within, queue=queue, limit=limit, after=after, cursor=cursor)
        return await self._database.run(command)

    async def upcoming_timeline(
        self, within: Duration = "24h", *, queue: str | None = None, limit: int = 100
    ) -> Timeline:
        """Return what will run from now until ``within`` has passed, with every tick of every schedule.

        Counted by buckets of time, for at most 10,000 schedules and at most 20,000 one-time tasks that are due later;
        lists the ticks of the ``limit`` schedules that run first, 0 to 1,000. ``within`` is between a minute and 31
        days. Paused and ended schedules are listed with their state; tasks in a paused queue are not counted. Raises
        InvalidTask.
        """
        from pgsched.db.queries.upcoming import asking  # imported late: few programs need it

        async with self._database.transaction() as one:
            found = await answered(one, asking(within, queue=queue))
        return await run_blocking(found.timeline, limit)

    async def preview(self, cron: str | None = None, **options: Unpack[PreviewOptions]) -> list[datetime]:
        """Return the next ticks of a schedule like :func:`pgsched.preview`, considering the dates of its calendars."""
        return preview(cron, calendars=await self.calendar_days(cron), **options)
