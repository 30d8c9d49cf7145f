"""Changes to many tasks, made at once: without waiting for the time in which they can be undone."""

from __future__ import annotations

from typing import Any

import psycopg

from pgsched.client.async_client import AsyncClient
from pgsched.web.services.bulk_runner import BulkRunner
from tests.support.tables import database
from tests.support.waiting import wait_until_async


def let_begin(dsn: str) -> None:
    """The time to undo the changes that wait is over."""
    with database(dsn) as connection:
        connection.execute("update pgsched.bulk_changes set starts_at = clock_timestamp() where status = 'waiting'")


async def make_bulk_changes(dsn: str) -> None:
    """Make the changes that were asked for, as a dashboard does that has just started; another may be faster."""
    let_begin(dsn)
    async with AsyncClient(dsn) as client:
        await BulkRunner(client).run_once()
    with database(dsn) as connection:
        await wait_until_async(lambda: not _open(connection))


def _open(connection: psycopg.Connection[dict[str, Any]]) -> list[dict[str, Any]]:
    """The changes that are not made yet."""
    return connection.execute("select id from pgsched.bulk_changes where status in ('waiting', 'running')").fetchall()
