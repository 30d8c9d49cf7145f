"""Previews of schedules, and checks whether they run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries.diagnostics import LATE_SECONDS
from pgsched.domain.records import Task
from pgsched.domain.scheduling.preview import Previewed, explain, schedule_of, ticks_of


class Preview(NamedTuple):
    """A schedule in words, and its next ticks."""

    words: str
    ticks: list[Previewed]


async def preview_schedule(
    client: AsyncClient, cron: str | None, *, after: datetime | None = None, n: int, **options: Any
) -> Preview:
    """Return the preview of a schedule after an instant, now by default; ``options`` are those of ``schedule_of``.

    Raises InvalidTask.
    """
    calendars = await client.calendar_days(cron)

    def work() -> Preview:
        schedule = schedule_of(cron, calendars=calendars, **options)
        return Preview(explain(schedule), ticks_of(schedule, after=after or datetime.now(UTC), n=n))

    return await asyncio.to_thread(work)  # The ticks of a rare cron expression take time to find.


def is_stalled(schedule: Task, now: datetime) -> bool:
    """Return whether a schedule is overdue by the doctor's limit, and no worker runs it."""
    due, leased = schedule.next_run_at, schedule.locked_until
    late = due is not None and due < now - timedelta(seconds=LATE_SECONDS)
    return schedule.enabled and late and (leased is None or leased < now)
