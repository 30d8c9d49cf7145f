"""The attempts of all tasks are found back through time, span by span, without a gap and without one twice."""

from __future__ import annotations

import pytest

from pgsched import AsyncClient
from pgsched.web.services import search as attempts
from pgsched.web.services.search import Attempts, Place, find_attempts
from tests.support.tables import database

AGES = (0.0, 0.4, 0.4, 0.4, 0.999, 1.0, 1.001, 7.0, 8.0, 9.0, 63.0, 64.0, 70.0)
"""Of the attempts, in seconds; some of one moment."""
INSERT = (
    "insert into pgsched.executions"
    " (task_id, task_type, queue, attempt, fencing_token, worker_id, status, started_at, finished_at)"
    " select n, 'greet', 'default', 1, 1, gen_random_uuid(), 'completed', now() - age * interval '1 second', now()"
    " from unnest(%s::float8[]) with ordinality as a(age, n)"
)


async def walked(dsn: str, *, seconds: int, limit: int) -> tuple[list[int], int]:
    """The ids of all pages, in their order, and how many pages there were."""
    ids: list[int] = []
    pages, place = 0, None
    async with AsyncClient(dsn) as client:
        while True:
            page = await _page(client, seconds, place, limit)
            pages += 1
            ids += [one.task_id for one in page.found]
            place = page.next_before
            if place is None:
                return ids, pages


async def _page(client: AsyncClient, seconds: int, place: Place | None, limit: int) -> Attempts:
    return await find_attempts(
        client.database, seconds=seconds, queue=None, task_type=None, status=None, before=place, limit=limit
    )


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
@pytest.mark.parametrize("budget", [-1.0, 60.0])
async def test_pages_hold_every_attempt_once_in_order(
    dsn: str, monkeypatch: pytest.MonkeyPatch, limit: int, budget: float
) -> None:
    monkeypatch.setattr(attempts, "SECONDS", budget)
    with database(dsn) as connection:
        connection.execute(INSERT, (list(AGES),))
        ordered = [
            row["task_id"]
            for row in connection.execute(
                "select task_id from pgsched.executions order by started_at desc, task_id desc"
            )
        ]
    ids, pages = await walked(dsn, seconds=80, limit=limit)
    assert ids == ordered
    if budget < 0:
        assert pages > len(AGES) / limit  # a span a page: they end before they are full


async def test_what_is_older_than_asked_for_is_not_found(dsn: str) -> None:
    with database(dsn) as connection:
        connection.execute(INSERT, ([10.0, 100.0, 1000.0],))
    assert (await walked(dsn, seconds=500, limit=50))[0] == [1, 2]


async def test_long_ago_is_reached_at_once_where_little_is_between(dsn: str) -> None:
    with database(dsn) as connection:
        connection.execute(INSERT, ([2_500_000.0, 2_600_000.0],))
    assert await walked(dsn, seconds=2_592_000, limit=50) == ([1], 1)
