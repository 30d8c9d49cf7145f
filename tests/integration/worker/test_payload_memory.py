"""Payloads are freed when their tasks have ended, not when the interpreter collects garbage, which may take minutes."""

from __future__ import annotations

import asyncio
import gc

from pgsched import Context
from pgsched.worker.leased_tasks import LeasedTask
from tests.support.engine import handlers, rows, running_worker
from tests.support.tables import database
from tests.support.waiting import wait_until_async


async def test_nothing_of_an_ended_task_waits_for_the_garbage_collector(dsn: str) -> None:
    async def waits() -> None:
        await asyncio.sleep(0.01)

    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise ValueError

    async def knows(ctx: Context) -> None:
        await asyncio.sleep(0.01)
        ctx.log("done")

    registry = handlers(waits=waits, fails=fails, knows=knows)
    with database(dsn) as db:
        async with running_worker(dsn, registry, concurrency=20):
            gc.collect()
            gc.disable()
            before = set(map(id, _held()))  # what tests before this one still refer to
            try:
                db.execute(
                    "insert into pgsched.tasks (task_type, max_attempts) select type, 1 "
                    "from unnest(array['waits', 'fails', 'knows']) type, generate_series(1, 25)"
                )
                await wait_until_async(
                    lambda: not rows(db, "select from pgsched.tasks where status not in ('completed', 'dead')"),
                    message="all have ended",
                )
                # Loops that wait still refer to what they handled last.
                await wait_until_async(
                    lambda: sum(id(held) not in before for held in _held()) < 5, message="they are freed"
                )
            finally:
                gc.enable()


def _held() -> list[LeasedTask]:
    # isinstance() would ask each object for its class, and lazy ones of other libraries then do their work.
    return [held for held in gc.get_objects() if type(held) is LeasedTask]
