"""Handlers that overstay, and handlers that play with cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from pgsched.execution.context import Context
from tests.support.engine import engine, handlers, history
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until_async


async def test_an_async_handler_that_overstays_is_cancelled_and_tried_again(dsn: str) -> None:
    cancelled = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with database(dsn) as db:
        task_id = insert_task(db, timeout="20 milliseconds")
        async with engine(dsn, handlers(mail=endless)) as one:
            await one.work()
        row, (run,) = task_row(db, task_id), history(db, task_id)
    assert cancelled.is_set()
    assert (row["status"], row["attempts"], row["last_error"]) == ("pending", 1, "timed out after 0.02 s")
    assert run["status"] == "timed_out"


async def test_a_task_that_times_out_in_its_last_attempt_is_dead(dsn: str) -> None:
    async def endless() -> None:
        await asyncio.Event().wait()

    with database(dsn) as db:
        task_id = insert_task(db, timeout="20 milliseconds", max_attempts=1)
        async with engine(dsn, handlers(mail=endless)) as one:
            await one.work()
        assert task_row(db, task_id)["status"] == "dead"


async def test_a_plain_function_that_overstays_is_reported_but_keeps_its_slot_until_it_returns(dsn: str) -> None:
    told, go_on = threading.Event(), threading.Event()

    def slow(context: Context) -> None:
        while not context.cancelled:
            told.wait(0.001)
        told.set()
        go_on.wait(10)

    with database(dsn) as db:
        task_id = insert_task(db, timeout="20 milliseconds")
        async with engine(dsn, handlers(mail=slow), concurrency=1) as one:
            await one.work()
            assert task_row(db, task_id)["status"] == "pending"
            assert one.worker.executor.free == 0
            go_on.set()
            await wait_until_async(lambda: one.worker.executor.free == 1, message="the slot is free again")


async def test_a_handler_knows_its_deadline(dsn: str) -> None:
    async def handler(context: Context) -> bool:
        assert context.remaining is not None
        assert context.deadline is not None
        return 50 < context.remaining <= 60

    with database(dsn) as db:
        task_id = insert_task(db, timeout="1 minute")
        async with engine(dsn, handlers(mail=handler)) as one:
            await one.work()
        assert task_row(db, task_id)["result"] is True


async def test_a_timeout_error_of_the_handler_is_an_ordinary_failure(dsn: str) -> None:
    async def handler() -> None:
        raise TimeoutError("the other side is slow")

    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn, handlers(mail=handler)) as one:
            await one.work()
        row, (run,) = task_row(db, task_id), history(db, task_id)
    assert run["status"] == "failed"
    assert row["last_error"].startswith("TimeoutError: the other side is slow")


async def test_a_handler_that_cancels_its_own_task_fails_and_its_slot_goes_on(dsn: str) -> None:
    async def cancel_myself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def fine() -> None:
        await asyncio.sleep(0)

    with database(dsn) as db:
        bad, good = insert_task(db, "bad"), insert_task(db, "good")
        async with engine(dsn, handlers(bad=cancel_myself, good=fine), concurrency=1) as one:
            await one.work()
        row = task_row(db, bad)
        assert (row["status"], row["attempts"]) == ("pending", 1)
        assert "cancelled" in row["last_error"]
        assert task_row(db, good)["status"] == "completed"


async def test_a_cancellation_that_a_handler_leaves_behind_does_not_reach_the_next(dsn: str) -> None:
    async def leave_one_behind() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()  # and returns before it is delivered

    async def fine() -> None:
        await asyncio.sleep(0)

    with database(dsn) as db:
        ids = [insert_task(db, "bad"), insert_task(db, "good"), insert_task(db, "bad"), insert_task(db, "good")]
        async with engine(dsn, handlers(bad=leave_one_behind, good=fine), concurrency=1) as one:
            await one.work()
            assert one.worker.executor.free == 1
        assert {task_row(db, task_id)["status"] for task_id in ids} == {"completed"}


async def test_a_task_group_that_failed_in_one_handler_does_not_disturb_the_next(dsn: str) -> None:
    async def bad() -> None:
        raise ValueError("no luck")

    async def grouped() -> None:
        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(bad())

    async def own_timeout() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "in time"
        return "never"

    with database(dsn) as db:
        insert_task(db, "grouped")
        task_id = insert_task(db, "own_timeout")
        async with engine(dsn, handlers(grouped=grouped, own_timeout=own_timeout), concurrency=1) as one:
            await one.work()
        assert task_row(db, task_id)["result"] == "in time"
