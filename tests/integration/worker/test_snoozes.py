"""Snooze: the row comes back after the delay, costs no attempt, and not for ever."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pgsched import App, Client, Context, Snooze
from pgsched.testing import call, run_due_async
from tests.support.engine import engine, history, make_due, running_worker
from tests.support.tables import insert_task, task_row
from tests.support.waiting import wait_until_async

Connection = psycopg.Connection[dict[str, Any]]
KINDS = ("async", "plain", "transactional")


def snoozing(delay: float, **options: Any) -> App:
    """An app whose handlers snooze, one of each kind."""
    app = App()

    @app.task("async", **options)
    async def on_loop(ctx: Context) -> None:
        ctx.log("asked", attempt=ctx.attempt)
        raise Snooze(delay, "429 from the bank")

    @app.task("plain", **options)
    def plain(ctx: Context) -> None:
        raise Snooze(delay, "429 from the bank")

    @app.task("transactional", transactional=True, **options)
    async def transactional(ctx: Context) -> None:
        raise Snooze(delay, "429 from the bank")

    return app


@pytest.mark.parametrize("kind", KINDS)
async def test_a_snoozed_task_waits_and_no_attempt_is_counted(
    dsn: str, db: Connection, client: Client, kind: str
) -> None:
    app = snoozing(60)
    task = insert_task(db, kind, max_attempts=1)
    async with engine(dsn, app.registry) as one:
        for _ in range(2):
            await one.claim()
            await one.run()
            row = task_row(db, task)
            assert (row["status"], row["attempts"], row["last_error"]) == ("pending", 0, "Snooze: 429 from the bank")
            waits = db.execute("select next_run_at - now() as left from pgsched.tasks").fetchone()
            assert waits is not None
            assert 50 < waits["left"].total_seconds() <= 60
            make_due(db, task)
    runs = history(db, task)
    assert [(run["status"], run["attempt"], run["error"]) for run in runs] == [
        ("cancelled", 0, "Snooze: 429 from the bank")
    ] * 2
    assert [run.status for run in client.executions(task)] == ["snoozed", "snoozed"]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_one_after_max_snoozes_counts_as_a_failed_attempt(dsn: str, db: Connection, kind: str) -> None:
    app = snoozing(0, max_snoozes=2)
    task = insert_task(db, kind, max_attempts=2)
    async with running_worker(dsn, app.registry):
        await wait_until_async(lambda: task_row(db, task)["status"] == "dead", message="it is dead")
    runs = [(run["status"], run["attempt"]) for run in history(db, task)]
    snoozed = ("cancelled", 0)
    assert runs == [snoozed, snoozed, ("failed", 1), snoozed, snoozed, ("failed", 2)]
    error = "Snooze: 429 from the bank (max_snoozes is 2, so it counts as a failed attempt)"
    assert task_row(db, task)["last_error"] == error


async def test_a_tick_of_a_schedule_is_snoozed(dsn: str, db: Connection) -> None:
    app = snoozing(60)
    task = insert_task(db, "plain", repeat_interval="1 day", start_date="2030-01-01")
    db.execute("update pgsched.tasks set start_date = now() - interval '1 second'")
    before = task_row(db, task)
    async with engine(dsn, app.registry) as one:
        make_due(db, task)
        await one.claim()
        await one.run()
    after = task_row(db, task)
    assert (after["scheduled_for"], after["attempts"], after["execution_count"]) == (before["scheduled_for"], 0, 0)


async def test_hooks_are_not_called_and_the_metric_counts_it(dsn: str, db: Connection) -> None:
    app, seen = snoozing(60), list[Any]()
    for event in ("completed", "failed", "dead"):
        app.on(event)(seen.append)
    insert_task(db, "plain")
    async with engine(dsn, app.registry, hooks=app.hooks) as one:
        await one.work()
        ((_, ended),) = one.counts.attempts.items()
    assert seen == []
    assert ended["snoozed"] == 1


async def test_in_tests_of_applications_it_is_no_failure(dsn: str, db: Connection) -> None:
    app = snoozing(60)
    app.use(dsn)
    insert_task(db, "plain")
    assert [one.outcome for one in await run_due_async(app)] == ["snoozed"]


def test_call_tells_it() -> None:
    app = App()

    @app.task("mail")
    def mail() -> None:
        raise Snooze(7)

    called = call(mail, raises=False)
    assert (called.outcome, called.retry_delay) == ("snoozed", 7)
