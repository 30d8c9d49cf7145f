"""What a schedule will do, and ticks that passed, run after all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries.diagnostics import LATE_SECONDS
from pgsched.domain.records import Task, to_json_able
from pgsched.domain.scheduled import BackfillTick
from pgsched.domain.scheduling.preview import Previewed, explain, schedule_of, ticks_of
from pgsched.web.auth.access import Actor
from pgsched.web.services.audit import audited


class Preview(NamedTuple):
    """A schedule in words, and its next ticks."""

    words: str
    ticks: list[Previewed]


async def preview_schedule(
    client: AsyncClient, cron: str | None, *, after: datetime | None = None, n: int, **options: Any
) -> Preview:
    """Return what a schedule will do after an instant, now by default; ``options`` are those of ``schedule_of``.

    Raises InvalidTask.
    """
    calendars = await client.calendar_days(cron)

    def work() -> Preview:
        schedule = schedule_of(cron, calendars=calendars, **options)
        return Preview(explain(schedule), ticks_of(schedule, after=after or datetime.now(UTC), n=n))

    return await asyncio.to_thread(work)  # a rare cron expression takes its time to find


def is_stalled(schedule: Task, now: datetime) -> bool:
    """Whether a schedule should have run as long ago as the doctor minds, and nobody runs it."""
    due, leased = schedule.next_run_at, schedule.locked_until
    late = due is not None and due < now - timedelta(seconds=LATE_SECONDS)
    return schedule.enabled and late and (leased is None or leased < now)


async def backfill(
    actor: Actor, task_id: int, since: datetime, until: datetime, *, max_ticks: int, dry_run: bool
) -> Sequence[BackfillTick]:
    """Run ticks of a schedule that passed, or say which would be. Raises as the client's ``backfill``."""
    async with audited(actor, "task.backfill", task_id=task_id) as change:
        ticks = await change.client.backfill(task_id, since, until, max_ticks=max_ticks, dry_run=dry_run)
        made = number_to_run(ticks)
        change.nothing = dry_run or not made
        told = {"from": to_json_able(since), "to": to_json_able(until), "max_ticks": max_ticks, "made": made}
        change.before, change.after = {}, told
    return ticks


def number_to_run(ticks: Sequence[BackfillTick]) -> int:
    """How many of the ticks are run, neither before nor by the schedule itself."""
    return sum(one.outcome == "run" for one in ticks)
