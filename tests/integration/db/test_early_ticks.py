"""A clock that was ahead let ticks run early: a replan books the others, and none of these a second time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched.client.client import Client
from pgsched.execution.registry import Registry
from pgsched.testing import Clock
from tests.support.engine import engine, handlers, history, rows
from tests.support.tables import database, insert_task, task_row

TEN_PAST_TEN = datetime(2030, 6, 1, 10, 10, tzinfo=UTC)
HALF_PAST_TEN = datetime(2030, 6, 1, 10, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(*hours: int) -> list[datetime]:
    """Full hours of the day of :data:`HALF_PAST_TEN`; 24 and more are of the next one."""
    midnight = HALF_PAST_TEN.replace(hour=0, minute=0)
    return [midnight + hour * HOUR for hour in hours]


def ticks_that_ran(db: psycopg.Connection[dict[str, Any]], task_id: int) -> list[datetime]:
    return [row["scheduled_for"] for row in history(db, task_id) if row["status"] == "completed"]


def failing() -> Registry:
    async def mail() -> None:
        raise ValueError("no luck")

    return handlers(mail=mail)


async def run_until(dsn: str, clock: Clock, times: Sequence[datetime]) -> None:
    """Let a worker look at each of these times."""
    async with engine(dsn) as one:
        for time in times:
            clock.freeze(time)
            await one.work()


async def test_tick_that_ran_an_hour_early_does_not_run_again_after_a_replan(dsn: str) -> None:
    with Clock(dsn) as clock, database(dsn) as db, Client(dsn) as client:
        clock.freeze(TEN_PAST_TEN)
        task_id = insert_task(db, cron_expression="0 * * * *")
        await run_until(dsn, clock, at(11))  # by a clock that is half an hour ahead
        clock.freeze(HALF_PAST_TEN)
        assert [client.replan(task_id)] == at(12), "11:00 ran"
        await run_until(dsn, clock, at(11, 12, 13))
        assert ticks_that_ran(db, task_id) == at(11, 12, 13)
        assert task_row(db, task_id)["early_ticks"] is None, "it is over"


@pytest.mark.parametrize("by", ["python", "sql"])
async def test_ticks_before_and_after_those_that_ran_a_day_early_run_at_their_times(dsn: str, by: str) -> None:
    with Clock(dsn) as clock, database(dsn) as db, Client(dsn) as client:
        clock.freeze(TEN_PAST_TEN)
        task_id = insert_task(db, cron_expression="0 * * * *")
        await run_until(dsn, clock, at(35, 36))  # tomorrow at eleven, for all before it, and at noon
        assert ticks_that_ran(db, task_id) == at(35, 36)
        clock.freeze(HALF_PAST_TEN)
        assert [client.replan(task_id)] == at(11)
        await run_until(dsn, clock, at(*range(11, 35)))
        if by == "sql":  # as after an edit while the tick ran: the database books the next one
            db.execute("update pgsched.tasks set timezone = 'Etc/GMT' where id = %s", (task_id,))
        assert [task_row(db, task_id)["scheduled_for"]] == at(37)
        await run_until(dsn, clock, at(35, 36, 37))
        assert sorted(ticks_that_ran(db, task_id)) == at(*range(11, 38))


async def test_ticks_that_overlap_run_once_too(dsn: str) -> None:
    with Clock(dsn) as clock, database(dsn) as db, Client(dsn) as client:
        clock.freeze(TEN_PAST_TEN)
        task_id = insert_task(db, cron_expression="0 * * * *", overlap="allow")
        await run_until(dsn, clock, [*at(11), at(11)[0] + timedelta(minutes=1)])
        clock.freeze(HALF_PAST_TEN)
        assert [client.replan(task_id)] == at(12)
        await run_until(dsn, clock, at(12))
        children = rows(db, "select scheduled_for from pgsched.tasks where parent_id = %s order by 1", task_id)
        assert [row["scheduled_for"] for row in children] == at(11, 12)


async def test_schedule_whose_last_ticks_ran_early_is_over(dsn: str) -> None:
    with Clock(dsn) as clock, database(dsn) as db, Client(dsn) as client:
        clock.freeze(TEN_PAST_TEN)
        task_id = insert_task(db, cron_expression="0 * * * *", end_date=at(12)[0] + timedelta(minutes=1))
        await run_until(dsn, clock, at(12))  # for both
        clock.freeze(HALF_PAST_TEN)
        assert client.replan_all() == 1
        assert [task_row(db, task_id)["scheduled_for"]] == at(11)
        await run_until(dsn, clock, at(11, 12, 13))
        assert sorted(ticks_that_ran(db, task_id)) == at(11, 12)
        row = task_row(db, task_id)
        assert (row["status"], row["next_run_at"]) == ("completed", None)
        assert row["completed_at"] is not None


async def test_attempt_that_failed_early_is_made_again_at_its_time(dsn: str) -> None:
    with Clock(dsn) as clock, database(dsn) as db, Client(dsn) as client:
        clock.freeze(TEN_PAST_TEN)
        task_id = insert_task(db, cron_expression="0 * * * *")
        clock.freeze(at(11)[0])
        async with engine(dsn, failing()) as one:
            await one.work()
        assert [row["status"] for row in history(db, task_id)] == ["failed"]
        clock.freeze(HALF_PAST_TEN)
        assert [client.replan(task_id)] == at(11)
        await run_until(dsn, clock, at(11))
        assert ticks_that_ran(db, task_id) == at(11)


async def test_second_jump_back_keeps_what_ran_in_the_first(dsn: str) -> None:
    with Clock(dsn) as clock, database(dsn) as db, Client(dsn) as client:
        clock.freeze(TEN_PAST_TEN)
        task_id = insert_task(db, cron_expression="0 * * * *")
        await run_until(dsn, clock, at(14))
        clock.freeze(HALF_PAST_TEN)
        client.replan(task_id)
        db.execute("delete from pgsched.executions")
        await run_until(dsn, clock, at(12))  # for eleven and twelve
        clock.freeze(HALF_PAST_TEN)
        assert [client.replan(task_id)] == at(11)
        await run_until(dsn, clock, at(11, 12, 13, 14))
        assert ticks_that_ran(db, task_id) == at(12, 11, 13)


async def test_next_skip_passes_over_what_ran_early(dsn: str) -> None:
    with Clock(dsn) as clock, database(dsn) as db, Client(dsn) as client:
        clock.freeze(TEN_PAST_TEN)
        task_id = insert_task(db, cron_expression="0 * * * *")
        await run_until(dsn, clock, at(12))
        clock.freeze(HALF_PAST_TEN)
        client.replan(task_id)
        skipped = client.skip_next(task_id)
        assert [skipped.tick, skipped.next_tick] == at(11, 13)
        assert [task_row(db, task_id)["scheduled_for"]] == at(13)
