"""Recurring and repeating rows, from the plain INSERT through their ticks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgsched.domain.attempt import Claimed
from pgsched.execution.context import Context
from tests.support.engine import engine, handlers, history, make_due, rows
from tests.support.tables import database, insert_task, move_tick, task_row


class Seen:
    """A handler that notes its ticks."""

    def __init__(self) -> None:
        self.ticks: list[datetime] = []
        self.catchups: list[bool] = []

    async def __call__(self, context: Context) -> None:
        self.ticks.append(context.scheduled_for)
        self.catchups.append(context.is_catchup)


async def work(dsn: str, seen: Seen) -> None:
    async with engine(dsn, handlers(mail=seen)) as one:
        await one.work()


def set_tick(db: Any, task_id: int, tick: str) -> datetime:
    """Let the next tick be ``tick`` (an SQL expression), due at that time; returns it."""
    return move_tick(db, task_id, tick)


async def test_a_new_recurring_row_has_its_tick_and_waits_for_it(dsn: str) -> None:
    seen = Seen()
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 8 * * 1", timezone="Europe/Berlin")
        await work(dsn, seen)
        row = task_row(db, task_id)
        assert (seen.ticks, history(db, task_id)) == ([], [])
        assert rows(
            db,
            "select extract(isodow from t)::int as day, t::time::text as time from "
            "(select scheduled_for at time zone 'Europe/Berlin' as t from pgsched.tasks) local",
        ) == [{"day": 1, "time": "08:00:00"}]
    assert (row["status"], row["attempts"], row["execution_count"]) == ("pending", 0, 0)
    assert row["next_run_at"] == row["scheduled_for"] > row["created_at"]


async def test_a_recurring_row_runs_its_tick_and_moves_to_the_next(dsn: str) -> None:
    seen = Seen()
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="* * * * *")
        tick = set_tick(db, task_id, "date_trunc('minute', now())")
        db.execute("update pgsched.tasks set on_missed = 'all'")
        await work(dsn, seen)
        row = task_row(db, task_id)
    assert seen.ticks == [tick]
    assert row["scheduled_for"] == tick + timedelta(minutes=1)
    assert (row["execution_count"], row["status"]) == (1, "pending")


async def test_a_late_start_does_not_move_the_ticks(dsn: str) -> None:
    seen = Seen()
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="1 hour", start_date=datetime(2026, 1, 1, 0, 17, tzinfo=UTC))
        tick = set_tick(db, task_id, "date_trunc('hour', now() - interval '17 minutes') + interval '17 minutes'")
        await work(dsn, seen)
        row = task_row(db, task_id)
    assert (seen.ticks, row["scheduled_for"]) == ([tick], tick + timedelta(hours=1))


async def test_a_repeating_row_begins_at_once_and_goes_on_from_its_start(dsn: str) -> None:
    seen = Seen()
    with database(dsn) as db:
        task_id = insert_task(db, repeat_interval="10 minutes", repeat_count=2)
        start = task_row(db, task_id)["start_date"]
        assert task_row(db, task_id)["scheduled_for"] == start
        await work(dsn, seen)
        row = task_row(db, task_id)
    assert (seen.ticks, row["scheduled_for"]) == ([start], start + timedelta(minutes=10))


async def test_a_one_time_row_tells_its_handler_its_nominal_time(dsn: str) -> None:
    seen = Seen()
    with database(dsn) as db:
        insert_task(db, scheduled_for=datetime(2020, 2, 29, 12, tzinfo=UTC))
        await work(dsn, seen)
    assert seen.ticks == [datetime(2020, 2, 29, 12, tzinfo=UTC)]


async def test_missed_ticks_become_one_run_that_knows_it_is_late(dsn: str) -> None:
    seen = Seen()
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 * * *")
        tick = set_tick(
            db, task_id, "date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' - interval '3 days'"
        )
        async with engine(dsn, handlers(mail=seen)) as one:
            await one.work()
            assert one.counts.ticks_missed.at(("mail", "default"))["once"] == 3
        row = task_row(db, task_id)
    assert seen.ticks == [tick + timedelta(days=3)]
    assert seen.catchups == [True]
    assert (row["scheduled_for"], row["execution_count"]) == (tick + timedelta(days=4), 1)


async def test_missed_ticks_that_are_to_be_skipped_are_not_run(dsn: str) -> None:
    seen = Seen()
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 1 1 *", on_missed="skip")
        tick = set_tick(db, task_id, "timestamptz '2020-01-01 00:00Z'")
        await work(dsn, seen)
        row = task_row(db, task_id)
        assert history(db, task_id) == []
    assert seen.ticks == []
    assert row["scheduled_for"] > tick + timedelta(days=365)


async def test_all_missed_ticks_run_one_after_the_other(dsn: str) -> None:
    seen = Seen()
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 * * *", on_missed="all")
        tick = set_tick(
            db, task_id, "date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' - interval '2 days'"
        )
        for _ in range(4):
            await work(dsn, seen)
    assert seen.ticks == [tick, tick + timedelta(days=1), tick + timedelta(days=2)]


async def test_a_retry_keeps_its_tick(dsn: str) -> None:
    seen = Seen()

    async def flaky(context: Context) -> None:
        await seen(context)
        if context.attempt == 1:
            raise ValueError("no luck")

    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 1 1 *")
        tick = set_tick(db, task_id, "date_trunc('second', now())")
        async with engine(dsn, handlers(mail=flaky)) as one:
            await one.work()
            make_due(db, task_id)
            await one.work()
        assert seen.ticks == [tick, tick]
        assert [run["scheduled_for"] for run in history(db, task_id)] == [tick, tick]


async def test_an_edited_schedule_is_planned_again(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 1 1 *")
        await work(dsn, Seen())
        db.execute("update pgsched.tasks set cron_expression = '0 0 2 2 *'")
        await work(dsn, Seen())
        tick = task_row(db, task_id)["scheduled_for"]
    assert (tick.month, tick.day) == (2, 2)


async def test_jitter_makes_a_tick_due_later_and_keeps_its_name(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 1 1 *", jitter="1 hour")
        await work(dsn, Seen())
        row = task_row(db, task_id)
    assert (row["scheduled_for"].month, row["scheduled_for"].hour) == (1, 0)
    assert timedelta(0) < row["next_run_at"] - row["scheduled_for"] < timedelta(hours=1)


# Rows that cannot be planned.


def spoil(db: Any, task_id: int, **columns: str | None) -> None:
    """Write what the database itself would refuse, or cannot know to be wrong."""
    db.execute("set session_replication_role = replica")
    for column, value in columns.items():
        db.execute(f"update pgsched.tasks set {column} = %s where id = %s", (value, task_id))
    db.execute("set session_replication_role = origin")


@pytest.mark.parametrize(
    "columns",
    [{"cron_expression": "0 0 30 2 *"}, {"timezone": "Mars/Olympus"}, {"cron_expression": "no cron at all"}],
    ids=["never", "zone", "unreadable"],
)
@pytest.mark.parametrize("planned", [False, True])
async def test_a_row_that_cannot_be_planned_is_dead_and_harms_no_other(
    dsn: str, columns: dict[str, str], planned: bool
) -> None:
    seen = Seen()
    with database(dsn) as db:
        bad = insert_task(db, cron_expression="0 0 1 1 *")
        tick = set_tick(db, bad, "date_trunc('second', now())")
        spoil(db, bad, **columns, scheduled_for=str(tick) if planned else None)
        good = insert_task(db)
        await work(dsn, seen)
        row = task_row(db, bad)
        assert task_row(db, good)["status"] == "completed"
    assert row["status"] == "dead"
    assert next(iter(columns.values())) in row["last_error"]


async def test_a_dead_schedule_that_is_mended_goes_on(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, cron_expression="0 0 1 1 *")
        set_tick(db, task_id, "date_trunc('second', now())")
        spoil(db, task_id, cron_expression="0 0 30 2 *")
        await work(dsn, Seen())
        assert task_row(db, task_id)["status"] == "dead"
        db.execute("update pgsched.tasks set cron_expression = '0 0 1 2 *'")
        row = task_row(db, task_id)
    assert (row["status"], row["last_error"], row["scheduled_for"].month) == ("pending", None, 2)


@pytest.mark.parametrize("fault", [ZeroDivisionError, AssertionError, OverflowError, KeyError, RecursionError])
async def test_a_row_that_trips_pgsched_itself_costs_no_slot_and_is_dead(
    dsn: str, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    from pgsched.worker import executor

    judge = executor.judge
    with database(dsn) as db:
        bad, good = insert_task(db, repeat_interval="1 hour"), insert_task(db)

        def stumble(task: Claimed, now: datetime, **known: Any) -> Any:
            if task.id == bad:
                raise fault("so it goes")
            return judge(task, now, **known)

        monkeypatch.setattr(executor, "judge", stumble)
        async with engine(dsn, concurrency=1) as one:
            await one.work()
            assert len(one.leased_tasks) == 0
        row = task_row(db, bad)
        assert (row["status"], task_row(db, good)["status"]) == ("dead", "completed")
        assert f"the task cannot be started: {fault.__name__}" in row["last_error"]


@pytest.mark.parametrize(
    ("columns", "status"),
    [
        ({"cron_expression": "0 0 * * *", "start_date": "9999-12-30 23:59:59+00"}, "completed"),
        (
            {"cron_expression": "* * * * *", "timezone": "Asia/Tokyo", "start_date": "9999-12-30 23:59:59+00"},
            "completed",
        ),
        ({"repeat_interval": "1000 years", "start_date": "9999-12-30 23:59:59+00", "jitter": "1 day"}, "pending"),
    ],
    ids=["cron", "zone", "repeating"],
)
async def test_a_schedule_beyond_the_year_9999_is_over_and_harms_no_other(
    dsn: str, columns: dict[str, str], status: str
) -> None:
    with database(dsn) as db:
        before = [insert_task(db) for _ in range(5)]
        last = insert_task(db, **columns)
        behind = [insert_task(db) for _ in range(5)]
        async with engine(dsn) as one:
            await one.work()
            assert one.counts.database_errors == 0
        assert {task_row(db, task_id)["status"] for task_id in before + behind} == {"completed"}
        row = task_row(db, last)
        assert (row["status"], row["last_error"]) == (status, None)
