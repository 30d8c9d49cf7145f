"""How many connections a worker and a client take, as the server counts them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import psycopg

from pgsched.client.async_client import AsyncClient
from pgsched.execution.context import Context
from pgsched.execution.registry import Registry
from pgsched.worker.locked_batches import SESSIONS
from pgsched.worker.worker import QUESTIONS
from tests.support.engine import running_worker
from tests.support.tables import database, insert_task
from tests.support.waiting import wait_until_async

ALWAYS = {"pgsched claim": 1, "pgsched upkeep": 1, "pgsched listener": 1, "pgsched heartbeat": 1, "pgsched finish": 1}
"""Of a worker that has worked and was never busy, as docs/architecture.md has it."""
BUSY = ALWAYS | {"pgsched lock": SESSIONS}
TRANSACTIONS = 3
TASKS = 12
MANY = "insert into pgsched.tasks (task_type) select 'plain' from generate_series(1, 2000)"


def _open(connection: psycopg.Connection[dict[str, Any]]) -> Counter[str]:
    rows = connection.execute(
        "select application_name as name from pg_stat_activity"
        " where datname = current_database() and application_name like 'pgsched %'"
    ).fetchall()
    return Counter(row["name"] for row in rows)


async def test_worker_has_five_connections_eight_when_busy_and_no_more_than_it_says(dsn: str) -> None:
    async def plain() -> None:
        pass

    async def in_transaction(ctx: Context) -> None:
        await ctx.connection.execute("select pg_sleep(0.02)")

    async def asks(ctx: Context) -> None:
        assert len(ctx.dependencies) == 1

    registry = Registry()
    registry.register("plain", plain)
    registry.register("in transaction", in_transaction, transactional=True)
    registry.register("asks", asks)
    with database(dsn) as connection:

        def done() -> bool:
            row = connection.execute("select bool_and(status = 'completed') as done from pgsched.tasks").fetchone()
            return row == {"done": True}

        insert_task(connection, "plain")
        async with running_worker(dsn, registry, concurrency=20, transactions=TRANSACTIONS):
            await wait_until_async(lambda: done() and _open(connection) == ALWAYS, message="five are open")

            def is_busy() -> bool:
                if done():
                    connection.execute(MANY)
                return _open(connection) == BUSY

            await wait_until_async(is_busy, timeout=60, message="eight are open")
            await wait_until_async(done, timeout=60, message="all have run")
            for _ in range(TASKS):
                insert_task(connection, "in transaction")
                insert_task(connection, "asks", depends_on=[insert_task(connection, "plain")])
            await wait_until_async(done, message="all have run")
            found = _open(connection)
            assert found["pgsched handler"] == TRANSACTIONS
            assert 1 <= found["pgsched flow"] <= QUESTIONS
            assert {name: found[name] for name in BUSY} == BUSY
            assert found.total() <= sum(BUSY.values()) + TRANSACTIONS + QUESTIONS
        await wait_until_async(lambda: not _open(connection), message="none is left")


async def test_client_has_no_more_than_its_pool(dsn: str) -> None:
    with database(dsn) as connection:
        async with AsyncClient(dsn, pool_size=3) as client:
            assert _open(connection) == {}
            await asyncio.gather(*(client.schedule("mail") for _ in range(20)))
            assert 1 <= _open(connection)["pgsched client"] <= 3
