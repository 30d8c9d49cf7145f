"""How many leases a worker loses while a handler blocks its event loop, with another worker waiting to take over."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack

import psycopg

from benchmarks.sides.measure import arguments, report
from benchmarks.sides.worker_process import wait_until, worker
from pgsched.observability import logs
from tests.support.engine import handlers, running_worker
from tests.support.waiting import wait_until_async

TASKS = 20
LEASE = 1.0
LEASES_BLOCKED = 3


async def run(dsn: str) -> dict[str, float]:
    """One round: the blocked worker runs in this process, the one that takes over in a separate process."""
    go = asyncio.Event()
    started = 0
    blocked = False

    async def noop() -> None:
        nonlocal started, blocked
        started += 1
        await go.wait()
        if not blocked:
            blocked = True
            time.sleep(LEASES_BLOCKED * LEASE)  # noqa: ASYNC251 - on purpose

    with psycopg.connect(dsn, autocommit=True) as connection, ExitStack() as other:
        async with running_worker(dsn, handlers(noop=noop), concurrency=TASKS, lease=LEASE):
            connection.execute(
                "insert into pgsched.tasks (task_type) select 'noop' from generate_series(1, %s)", (TASKS,)
            )
            await wait_until_async(lambda: started == TASKS, message="all tasks run")
            os.environ["PGSCHED_POLL_INTERVAL"] = str(LEASE / 4)
            await asyncio.to_thread(other.enter_context, worker(dsn))
            go.set()
            await asyncio.sleep(LEASE)  # as long as the loop is blocked, and then so long
        wait_until(connection, "select not exists (select from pgsched.tasks where status <> 'completed')", longest=60)
        row = connection.execute("select count(*) from pgsched.executions where status = 'lost'").fetchone()
    return {"leases_lost": float(row[0]) if row else 0.0}


if __name__ == "__main__":
    logs.configure("warning")
    report(asyncio.run(run(arguments()["dsn"])))
