"""Changes to many tasks, made at once: without waiting for the time in which they can be undone."""

from __future__ import annotations

from pgsched.client.async_client import AsyncClient
from pgsched.web.services.bulk_runner import BulkRunner
from tests.support.tables import database


def let_begin(dsn: str) -> None:
    """The time to undo the changes that wait is over."""
    with database(dsn) as connection:
        connection.execute("update pgsched.bulk_changes set starts_at = clock_timestamp() where status = 'waiting'")


async def make_bulk_changes(dsn: str) -> None:
    """Make the changes that were asked for, as a dashboard does that has just started."""
    let_begin(dsn)
    async with AsyncClient(dsn) as client:
        await BulkRunner(client).run_once()
