"""Changes to many tasks, made at once: without waiting for the time in which they can be undone."""

from __future__ import annotations

from typing import Any

import psycopg

from pgsched.client.async_client import AsyncClient
from pgsched.web.services.bulk_runner import BulkRunner
from tests.support.tables import database
from tests.support.waiting import wait_until_async


def let_begin(dsn: str) -> list[int]:
    """The time to undo the changes that wait is over; which ones."""
    with database(dsn) as connection:
        begun = connection.execute(
            "update pgsched.bulk_changes set starts_at = clock_timestamp() where status = 'waiting' returning id"
        )
        return [row["id"] for row in begun]


async def make_bulk_changes(dsn: str) -> None:
    """Make the changes that wait, as a dashboard does that has just started; another one may be faster."""
    asked = let_begin(dsn)
    async with AsyncClient(dsn) as client:
        await BulkRunner(client).run_once()
    with database(dsn) as connection:
        await wait_until_async(lambda: not _open(connection, asked))


def _open(connection: psycopg.Connection[dict[str, Any]], ids: list[int]) -> list[dict[str, Any]]:
    """Those of these changes that are not made yet."""
    query = "select id from pgsched.bulk_changes where id = any(%s) and status in ('waiting', 'running')"
    return connection.execute(query, (ids,)).fetchall()
