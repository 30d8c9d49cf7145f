"""Ticks that somebody passes over: a schedule resumed without catching up, and its next run skipped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched import AsyncClient, Client, TaskNotFound, TransitionRefused
from pgsched.execution.context import Context
from tests.support.commands import pgsched
from tests.support.engine import engine, handlers, rows
from tests.support.tables import database, insert_task, restoring, set_running, task_row
from tests.support.web_face import web

Database = psycopg.Connection[dict[str, Any]]
MINUTE = timedelta(minutes=1)
API = "/api/v1"


def paused(db: Database, *, minutes: int = 5, **columns: Any) -> tuple[int, datetime]:
    """A paused schedule of every minute whose booked tick came so long ago, and that tick."""
    tick = datetime.now(UTC).replace(microsecond=0) - minutes * MINUTE - timedelta(seconds=30)
    with restoring(db):
        task_id = insert_task(
            db,
            **{"repeat_interval": "1 minute", "start_date": tick, "scheduled_for": tick, "on_missed": "all"} | columns,
            enabled=False,
        )
    return task_id, tick


def missed(db: Database, task_id: int) -> list[dict[str, Any]]:
    return rows(
        db,
        "select reason, ticks, first_tick, next_tick from pgsched.missed_ticks where task_id = %s order by first_tick",
        task_id,
    )


# Resumed.


@pytest.mark.parametrize("on_missed", ["all", "once", "skip"])
async def test_ticks_of_the_pause_are_not_run_whatever_on_missed_says(dsn: str, on_missed: str) -> None:
    seen: list[datetime] = []

    async def run(ctx: Context) -> None:
        seen.append(ctx.scheduled_for)

    with database(dsn) as db:
        task_id, tick = paused(db, on_missed=on_missed)
        assert rows(db, "select pgsched.enable(%s, catch_up => false) as was", task_id) == [{"was": True}]
        row = task_row(db, task_id)
        assert (row["enabled"], row["status"], row["scheduled_for"]) == (True, "pending", tick + 6 * MINUTE)
        assert row["next_run_at"] == tick + 6 * MINUTE
        async with engine(dsn, handlers(mail=run)) as one:
            await one.work()
        assert missed(db, task_id) == [
            {"reason": "paused", "ticks": 6, "first_tick": tick, "next_tick": tick + 6 * MINUTE}
        ]
    assert seen == []


def test_with_catching_up_the_tick_stays(client: Client, db: Database) -> None:
    task_id, tick = paused(db)
    assert client.enable(task_id) is True
    assert task_row(db, task_id)["scheduled_for"] == tick
    assert missed(db, task_id) == []


def test_a_pause_without_a_tick_is_forgotten_anyway(client: Client, db: Database) -> None:
    """A retry that waits goes on, too."""
    task_id, tick = paused(db, minutes=-2, attempts=1)
    assert client.enable(task_id, catch_up=False) is True
    row = task_row(db, task_id)
    assert (row["scheduled_for"], row["attempts"], missed(db, task_id)) == (tick, 1, [])


def test_what_is_not_paused_owes_its_ticks(client: Client, db: Database) -> None:
    task_id, tick = paused(db)
    client.enable(task_id)
    assert client.enable(task_id, catch_up=False) is False
    assert task_row(db, task_id)["scheduled_for"] == tick


def test_a_one_time_task_runs_whenever_it_is_enabled(client: Client, db: Database) -> None:
    task_id = insert_task(db, enabled=False)
    due = task_row(db, task_id)["next_run_at"]
    assert client.enable(task_id, catch_up=False) is True
    assert task_row(db, task_id)["next_run_at"] == due


def test_a_schedule_whose_end_passed_is_completed_and_who_waits_is_told(client: Client, db: Database) -> None:
    _, tick = paused(db)
    task_id, tick = paused(db, end_date=tick + 2 * MINUTE)
    after = insert_task(db, depends_on=[task_id])
    client.enable(task_id, catch_up=False)
    row = task_row(db, task_id)
    assert (row["status"], row["next_run_at"]) == ("completed", None)
    assert row["completed_at"] is not None
    assert task_row(db, after)["status"] == "pending"
    assert missed(db, task_id) == [{"reason": "paused", "ticks": 3, "first_tick": tick, "next_tick": None}]


# Skipped.


def test_the_next_run_is_skipped_and_then_one_more(client: Client, db: Database) -> None:
    task_id = insert_task(db, cron_expression="0 8 * * *", timezone="Europe/Berlin", repeat_count=None)
    first = task_row(db, task_id)["scheduled_for"]
    one, other = client.skip_next(task_id), client.skip_next(task_id)
    assert (one.tick, one.next_tick) == (first, other.tick)
    row = task_row(db, task_id)
    assert (row["scheduled_for"], row["execution_count"]) == (other.next_tick, 0)
    assert row["next_run_at"] == other.next_tick
    assert missed(db, task_id) == [
        {"reason": "skipped", "ticks": 1, "first_tick": one.tick, "next_tick": one.next_tick},
        {"reason": "skipped", "ticks": 1, "first_tick": other.tick, "next_tick": other.next_tick},
    ]
    assert [(of.reason, of.ticks) for of in client.missed_ticks(task_id)] == [("skipped", 1)] * 2


async def test_a_skipped_tick_is_not_run_and_the_next_one_is(dsn: str) -> None:
    seen: list[datetime] = []

    async def run(ctx: Context) -> None:
        seen.append(ctx.scheduled_for)

    with database(dsn) as db:
        task_id, tick = paused(db, minutes=1)
        rows(db, "select pgsched.skip_next(%s)", task_id)
        assert task_row(db, task_id)["enabled"] is False
        rows(db, "select pgsched.enable(%s)", task_id)
        async with engine(dsn, handlers(mail=run)) as one:
            await one.work()
    assert seen == [tick + MINUTE]


def test_a_jitter_holds_for_the_tick_that_is_booked_instead(client: Client, db: Database) -> None:
    task_id = insert_task(db, cron_expression="0 8 * * *", jitter="1 hour")
    skipped = client.skip_next(task_id)
    (row,) = rows(
        db,
        "select next_run_at, pgsched.due_at(id, scheduled_for, jitter) as due from pgsched.tasks where id = %s",
        task_id,
    )
    assert skipped.next_tick is not None
    assert skipped.next_tick < row["next_run_at"] == row["due"]


def test_a_retry_that_waits_is_given_up_with_its_tick(client: Client, db: Database) -> None:
    task_id, tick = paused(db, attempts=2, last_error="no luck")
    client.skip_next(task_id)
    row = task_row(db, task_id)
    assert (row["scheduled_for"], row["attempts"], row["last_error"]) == (tick + MINUTE, 0, None)


def test_the_last_tick_is_skipped_and_the_schedule_is_over(client: Client, db: Database) -> None:
    task_id = insert_task(db, cron_expression="0 0 1 1 *", end_date=datetime.now(UTC) + timedelta(days=366))
    while (skipped := client.skip_next(task_id)).next_tick is not None:
        pass
    assert task_row(db, task_id)["status"] == "completed"
    with pytest.raises(TransitionRefused, match=f"task {task_id} is completed, and has booked no tick to skip"):
        client.skip_next(task_id)
    assert skipped.next_tick is None


def test_what_has_booked_no_tick_is_refused(client: Client, db: Database) -> None:
    once, running = insert_task(db), insert_task(db, cron_expression="0 8 * * *")
    set_running(db, running)
    with pytest.raises(TransitionRefused, match=f"task {once} is one_time, and has no next tick: cancel it"):
        client.skip_next(once)
    with pytest.raises(TransitionRefused, match=f"task {running} is running, and has booked no tick to skip"):
        client.skip_next(running)
    with pytest.raises(TaskNotFound):
        client.skip_next(2**40)


# The other faces.


async def test_async_rest_and_pages(dsn: str) -> None:
    with database(dsn) as db:
        task_id, tick = paused(db)
        client = AsyncClient(dsn)
        assert (await client.skip_next(task_id)).tick == tick
        async with web(dsn) as http:
            page = (await http.get(f"/tasks/{task_id}")).text
            assert "Skip next run" in page
            assert "Enable, skip missed ticks" in page
            answer = await http.post(f"{API}/tasks/{task_id}/skip")
            assert datetime.fromisoformat(answer.json()["scheduled_for"]) == tick + 2 * MINUTE
            await http.post(f"/tasks/{task_id}/skip")
            assert task_row(db, task_id)["scheduled_for"] == tick + 3 * MINUTE
            answer = await http.post(f"{API}/tasks/{task_id}/enable?catch_up=false")
            assert datetime.fromisoformat(answer.json()["scheduled_for"]) == tick + 6 * MINUTE
            other, began = paused(db)
            await http.post(f"/tasks/{other}/enable_afresh")
            assert task_row(db, other)["scheduled_for"] == began + 6 * MINUTE
            last, began = paused(db)
        assert await client.enable(last, catch_up=False)
        assert task_row(db, last)["scheduled_for"] == began + 6 * MINUTE
        await client.close()
        noted = rows(db, "select action from pgsched.audit_log order by id")
    assert [one["action"] for one in noted] == ["task.skip", "task.skip", "task.enable", "task.enable"]


def test_command_line(dsn: str, db: Database) -> None:
    task_id, tick = paused(db)
    said = pgsched("schedule", "skip", task_id, dsn=dsn)
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout.startswith(f"task {task_id}: skips {tick:%Y-%m-%dT%H:%M:%SZ}")
    assert pgsched("task", "enable", task_id, "--no-catch-up", dsn=dsn).stdout == f"task {task_id}: enabled\n"
    assert task_row(db, task_id)["scheduled_for"] == tick + 6 * MINUTE
    refused = pgsched("schedule", "skip", insert_task(db), dsn=dsn)
    assert (refused.code, "has no next tick" in refused.error) == (1, True)
