"""A cancel from SQL reaches the handler that runs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from pgsched.db.notifications import CANCEL, Notification
from pgsched.execution.context import Context
from tests.support.engine import engine, handlers, history, nothing, running_worker
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until_async


class Endless:
    """An async handler that waits until it is cancelled."""

    def __init__(self) -> None:
        self.began, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


async def test_a_cancel_stops_the_handler_and_frees_its_slot(dsn: str) -> None:
    endless = Endless()
    with database(dsn) as db:
        task_id = insert_task(db)
        async with running_worker(dsn, handlers(mail=endless)) as worker:
            await wait_until_async(lambda: worker.counts.listener_connected, message="it listens")
            await endless.began.wait()
            db.execute("select pgsched.cancel(%s)", (task_id,))
            await endless.cancelled.wait()
            await wait_until_async(lambda: worker.executor.running == 0, message="its slot is free")
            assert len(worker.leased_tasks) == 0
        row, (run,) = task_row(db, task_id), history(db, task_id)
    assert (row["status"], row["next_run_at"], row["locked_by"]) == ("cancelled", None, None)
    assert run["status"] == "cancelled"


async def test_a_cancel_in_a_transaction_that_began_before_the_claim_ends_the_attempt_after_it_began(dsn: str) -> None:
    """Checked against a cancel that takes the time of its transaction: the attempt then ends before it begins."""
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn) as one:
            with db.transaction():
                db.execute("select now()")
                await one.claim()
                db.execute("select pgsched.cancel(%s)", (task_id,))
        (run,) = history(db, task_id)
    assert run["finished_at"] > run["started_at"]
    assert run["duration_ms"] == pytest.approx((run["finished_at"] - run["started_at"]).total_seconds() * 1000)


async def test_a_hundred_running_tasks_are_stopped_at_once(dsn: str, record_property: Callable[..., None]) -> None:
    begun = 0
    stopped: list[float] = []

    async def endless() -> None:
        nonlocal begun
        begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(time.monotonic())

    with database(dsn) as db:
        db.execute("insert into pgsched.tasks (task_type) select 'mail' from generate_series(1, 100)")
        async with running_worker(dsn, handlers(mail=endless), concurrency=100, lease=3000) as worker:
            await wait_until_async(lambda: worker.counts.listener_connected and begun == 100, message="all run")
            cancelled_at = time.monotonic()
            db.execute("select pgsched.cancel(id) from pgsched.tasks")
            await wait_until_async(lambda: worker.executor.running == 0, message="every slot is free")
        rows = db.execute("select status::text, count(*) from pgsched.tasks group by status").fetchall()
        runs = db.execute("select status, count(*) from pgsched.executions group by status").fetchall()
    assert [tuple(row.values()) for row in (*rows, *runs)] == [("cancelled", 100), ("cancelled", 100)]
    took = max(stopped) - cancelled_at
    record_property("seconds", took)  # shown by --junitxml
    assert len(stopped) == 100  # by the notification: the next beat would be a quarter of an hour away


async def test_what_waits_is_cancelled_at_once_and_never_runs(dsn: str) -> None:
    ran: list[int] = []
    with database(dsn) as db:
        later = insert_task(db, scheduled_for="2999-01-01T00:00Z")
        blocked = insert_task(db, depends_on=[later])
        retried = insert_task(db, attempts=1, next_run_at="2999-01-01T00:00Z")
        schedule = insert_task(db, cron_expression="* * * * *")
        paused = insert_task(db, enabled=False)
        assert task_row(db, blocked)["status"] == "blocked"
        ids = [blocked, later, retried, schedule, paused]
        for task_id in ids:
            db.execute("select pgsched.cancel(%s)", (task_id,))
        db.execute("update pgsched.tasks set enabled = true")
        async with engine(dsn, handlers(mail=lambda: ran.append(1))) as one:
            assert await one.claim() == []
        for task_id in ids:
            row = task_row(db, task_id)
            assert (row["status"], row["next_run_at"], history(db, task_id)) == ("cancelled", None, [])
            assert row["completed_at"] is not None
    assert ran == []


async def test_a_cancel_tells_a_plain_function(dsn: str) -> None:
    began, told = threading.Event(), threading.Event()

    def endless(context: Context) -> None:
        began.set()
        while not context.cancelled:
            told.wait(0.001)
        told.set()

    with database(dsn) as db:
        task_id = insert_task(db)
        async with running_worker(dsn, handlers(mail=endless)) as worker:
            await wait_until_async(
                lambda: worker.counts.listener_connected and began.is_set(), message="it listens and runs"
            )
            db.execute("select pgsched.cancel(%s)", (task_id,))
            await wait_until_async(told.is_set, message="it is told")
        assert task_row(db, task_id)["status"] == "cancelled"


async def test_what_a_cancelled_handler_returns_is_not_written(dsn: str) -> None:
    began = asyncio.Event()

    async def stubborn() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "all the same"
        return "never"

    with database(dsn) as db:
        task_id = insert_task(db)
        async with running_worker(dsn, handlers(mail=stubborn)) as worker:
            await wait_until_async(lambda: worker.counts.listener_connected, message="it listens")
            await began.wait()
            db.execute("select pgsched.cancel(%s)", (task_id,))
            await wait_until_async(lambda: worker.executor.running == 0, message="its slot is free")
        row = task_row(db, task_id)
    assert (row["status"], row["result"]) == ("cancelled", None)


async def test_a_row_that_is_cancelled_while_it_waits_for_a_slot_is_not_run(dsn: str) -> None:
    ran: list[int] = []
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=lambda: ran.append(1))) as one:
            await one.claim()
            db.execute("select pgsched.cancel(%s)", (task_id,))
            one.worker.listener.notified(Notification(CANCEL, str(task_id)))
            await one.run()
            assert (ran, len(one.leased_tasks)) == ([], 0)
        assert task_row(db, task_id)["status"] == "cancelled"


async def test_a_cancelled_task_does_not_disturb_the_next_in_its_slot(dsn: str) -> None:
    endless = Endless()
    with database(dsn) as db:
        first, second = insert_task(db, "endless"), insert_task(db, "mail")
        async with engine(dsn, handlers(endless=endless, mail=nothing), concurrency=1) as one:
            await one.claim()
            one.worker.executor.feed()
            await endless.began.wait()
            db.execute("select pgsched.cancel(%s)", (first,))
            one.worker.listener.notified(Notification(CANCEL, str(first)))
            await one.run()
        assert task_row(db, second)["status"] == "completed"


@pytest.mark.parametrize("payload", ["", "x", "999999", "-1", "1; drop table"])
async def test_a_cancel_that_means_nobody_here_is_ignored(dsn: str, payload: str) -> None:
    async with engine(dsn) as one:
        one.worker.listener.notified(Notification(CANCEL, payload))
