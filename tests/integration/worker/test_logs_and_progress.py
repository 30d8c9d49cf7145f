"""What a handler reports of itself while it runs and when it ends."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from pgsched.execution.context import Context
from tests.support.engine import (
    PATIENCE,
    Engine,
    engine,
    handlers,
    rows,
    running_worker,
    steal_leases,
    work_and_send_again,
)
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until_async

LINES = "select level, message, fields, attempt, fencing_token from pgsched.execution_logs order by logged_at"


class Talker:
    """A handler that reports, then waits until it may end."""

    def __init__(self, *said: Any) -> None:
        self.said = said
        self.reported, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, context: Context) -> None:
        for value in self.said:
            context.progress(value)
            context.log("at {}", level="debug", value=value)
        self.reported.set()
        await self.go_on.wait()


async def reporting(one: Engine, talker: Talker) -> None:
    """Claim, and run until the handler has reported."""
    await one.claim()
    one.worker.executor.feed()
    await talker.reported.wait()


async def test_progress_is_shown_while_the_handler_runs(dsn: str) -> None:
    talker = Talker({"done": 3})
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=talker)) as one:
            await reporting(one, talker)
            assert await one.worker.reporter.run_once() == 2
            row = task_row(db, task_id)
            assert (row["status"], row["progress"]) == ("running", {"done": 3})
            talker.go_on.set()
            await one.run()


async def test_lines_are_written_while_the_handler_runs(dsn: str) -> None:
    talker = Talker(1)
    with database(dsn) as db:
        insert_task(db)
        async with engine(dsn, handlers(mail=talker)) as one:
            await reporting(one, talker)
            await one.worker.reporter.run_once()
            assert rows(db, LINES) == [
                {"level": "debug", "message": "at {}", "fields": {"value": 1}, "attempt": 1, "fencing_token": 1}
            ]
            talker.go_on.set()
            await one.run()
            assert len(rows(db, LINES)) == 1


async def test_the_last_words_are_written_with_the_outcome(dsn: str) -> None:
    async def quick(context: Context) -> None:
        context.progress(1.0)
        context.log("done")

    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=quick)) as one:
            await one.work()
        assert task_row(db, task_id)["progress"] == 1.0
        assert [line["message"] for line in rows(db, LINES)] == ["done"]


async def test_a_failed_attempt_keeps_its_lines_and_progress(dsn: str) -> None:
    async def bad(context: Context) -> None:
        context.progress("half")
        context.log("about to fail")
        raise ValueError("no luck")

    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=bad)) as one:
            await one.work()
        row = task_row(db, task_id)
        assert (row["status"], row["progress"]) == ("pending", "half")
        assert [line["message"] for line in rows(db, LINES)] == ["about to fail"]


async def test_a_line_has_the_time_at_which_it_was_logged(dsn: str) -> None:
    talker = Talker(1)
    with database(dsn) as db:
        insert_task(db)
        async with engine(dsn, handlers(mail=talker)) as one:
            await reporting(one, talker)
            await one.worker.reporter.run_once()
            (row,) = rows(db, "select now() - logged_at as ago from pgsched.execution_logs")
            assert timedelta(0) <= row["ago"] < timedelta(seconds=10)


@pytest.mark.parametrize(
    "value", ["a\x00b", "\ud800", {"k": float("nan")}, {1, 2}, {("a", 1): "\x00"}, "x" * 3_000_000], ids=range(6)
)
async def test_a_report_that_the_database_cannot_hold_is_changed_and_not_refused(dsn: str, value: Any) -> None:
    talker = Talker(value)

    async def loud(context: Context) -> None:
        context.progress(value)
        context.log(str(value), level=str(value), field=value)

    with database(dsn) as db:
        ids = [insert_task(db), insert_task(db, "loud")]
        async with engine(dsn, handlers(mail=talker, loud=loud)) as one:
            await reporting(one, talker)
            await one.worker.reporter.run_once()
            talker.go_on.set()
            await one.run()
        for task_id in ids:
            row = task_row(db, task_id)
            assert row["status"] == "completed"
            assert row["progress"] is not None
        assert len(rows(db, LINES)) == 2


async def test_a_report_that_could_not_be_written_is_written_later(dsn: str) -> None:
    talker = Talker(7)
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=talker)) as one:
            await reporting(one, talker)
            db.execute("alter table pgsched.execution_logs rename to away")
            await one.worker.reporter.run_once()
            db.execute("alter table pgsched.away rename to execution_logs")
            await one.worker.reporter.run_once()
            assert task_row(db, task_id)["progress"] == 7
            assert len(rows(db, LINES)) == 1
            talker.go_on.set()
            await one.run()


async def test_lines_are_kept_once_when_an_outcome_is_sent_again(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def mail(context: Context) -> None:
        context.log("once")

    with database(dsn) as db:
        insert_task(db)
        async with engine(dsn, handlers(mail=mail)) as one:
            await work_and_send_again(one, monkeypatch)
        assert [row["message"] for row in rows(db, LINES)] == ["once"]


async def test_a_worker_that_lost_the_row_shows_no_progress_on_it(dsn: str) -> None:
    talker = Talker(7)
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=talker)) as one:
            await reporting(one, talker)
            steal_leases(db)
            await one.worker.reporter.run_once()
            assert task_row(db, task_id)["progress"] is None
            talker.go_on.set()
            await one.run()
            assert task_row(db, task_id)["progress"] is None


class Lasting:
    """A handler, plain or ``async``, that is stopped, notices it, and then logs in both ways."""

    def __init__(self) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()

    def plain(self, ctx: Context) -> str:
        ctx.log("before")
        self.began.set()
        while not ctx.cancelled:
            time.sleep(0.001)
        self.go_on.wait(PATIENCE)
        self.say(ctx)
        return "all the same"

    def unasking(self) -> None:
        logging.getLogger("application").warning("before")
        self.began.set()
        self.go_on.wait(PATIENCE)
        logging.getLogger("application").warning("after, by logging")

    async def on_loop(self, ctx: Context) -> None:
        ctx.log("before")
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.say(ctx)

    def say(self, ctx: Context) -> None:
        ctx.log("after")
        logging.getLogger("application").warning("after, by logging")


HANDLERS = ["plain", "on_loop", "unasking"]


@pytest.mark.parametrize("kind", HANDLERS)
@pytest.mark.parametrize("end", ["cancel", "lost lease", "timeout"])
async def test_lines_after_the_end_of_an_attempt_are_kept_while_the_handler_runs(dsn: str, kind: str, end: str) -> None:
    lasting = Lasting()
    with database(dsn) as db:
        task_id = insert_task(db, max_attempts=1, timeout="0.2 seconds" if end == "timeout" else None)
        registry = handlers(mail=getattr(lasting, kind))
        async with running_worker(dsn, registry, lease=1, capture_logs="info") as worker:
            await wait_until_async(
                lambda: worker.counts.listener_connected and lasting.began.is_set(), message="it listens and runs"
            )
            if end == "cancel":
                db.execute("select pgsched.cancel(%s)", (task_id,))
            elif end == "lost lease":
                steal_leases(db)
            await wait_until_async(lambda: len(worker.leased_tasks) == 0, message="the attempt has ended")
            lasting.go_on.set()
            await wait_until_async(
                lambda: worker.executor.running == 0 and not worker.leased_tasks.outlived,
                message="the handler has, too",
            )
        said = rows(db, LINES)
    after = ["after, by logging"] if kind == "unasking" else ["after", "after, by logging"]
    assert [(line["message"], line["attempt"], line["fencing_token"]) for line in said] == [
        (message, 1, 1) for message in ["before", *after]
    ]


@pytest.mark.parametrize("kind", HANDLERS)
async def test_lines_of_a_handler_that_a_stopping_worker_interrupts_are_kept(dsn: str, kind: str) -> None:
    lasting = Lasting()
    lasting.go_on.set()
    with database(dsn) as db:
        task_id = insert_task(db)
        settings = {"shutdown_timeout": 0.1, "capture_logs": "info"}
        async with running_worker(dsn, handlers(mail=getattr(lasting, kind)), **settings):
            await wait_until_async(lasting.began.is_set, message="it runs")
        assert task_row(db, task_id)["status"] == ("completed" if kind == "unasking" else "pending")
        said = [line["message"] for line in rows(db, LINES)]
    assert said == ["before", *(["after"] if kind != "unasking" else []), "after, by logging"]


@pytest.mark.slow
async def test_lines_after_the_end_that_are_refused_are_given_up(dsn: str) -> None:
    lasting = Lasting()
    with database(dsn) as db:
        task_id = insert_task(db)
        db.execute("alter table pgsched.execution_logs add check (message not like 'after%')")
        async with running_worker(dsn, handlers(mail=lasting.plain)) as worker:
            await wait_until_async(
                lambda: worker.counts.listener_connected and lasting.began.is_set(), message="it listens and runs"
            )
            db.execute("select pgsched.cancel(%s)", (task_id,))
            lasting.go_on.set()
            await wait_until_async(
                lambda: worker.executor.running == 0 and not worker.leased_tasks.outlived,
                message="nothing is left of it",
            )
            other = insert_task(db, "mail")
            await wait_until_async(lambda: task_row(db, other)["status"] == "running", message="the worker goes on")
            db.execute("select pgsched.cancel(%s)", (other,))


async def test_nothing_to_report_costs_no_statement(dsn: str) -> None:
    async with engine(dsn) as one:
        assert await one.worker.reporter.run_once() == 0
        assert not one.worker.upkeep_session.connected
