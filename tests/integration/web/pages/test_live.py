"""Pages that follow what happens."""

from __future__ import annotations

import asyncio

from pgsched.db.queries import dashboard
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.web import create_app
from pgsched.web.dashboard.live import changes
from pgsched.web.services.watch import Watch
from tests.support.tables import database, insert_task
from tests.support.waiting import wait_until_async
from tests.support.web_face import PROTECTED, web


async def test_watcher_is_told_of_a_change_and_of_nothing_else() -> None:
    number, looks = 1, 0

    async def look() -> int:
        nonlocal looks
        looks += 1
        return number

    watch = Watch(look, seconds=0.001)
    event = watch.join()
    await asyncio.wait_for(event.wait(), 5)
    event.clear()
    seen = looks
    await wait_until_async(lambda: looks > seen + 3, message="it looks on")
    assert not event.is_set()
    number = 2
    await asyncio.wait_for(event.wait(), 5)
    watch.leave(event)
    await asyncio.sleep(0)
    assert len(watch) == 0
    assert watch._task is None


async def test_watch_goes_on_after_the_database_was_away() -> None:
    away, looks = True, 0

    async def look() -> int:
        nonlocal looks
        looks += 1
        if away:
            raise DatabaseUnavailable("gone")
        return 1

    watch = Watch(look, seconds=0.001)
    event = watch.join()
    await wait_until_async(lambda: looks > 3, message="it looks in vain")
    assert not event.is_set()
    away = False
    await asyncio.wait_for(event.wait(), 5)
    await watch.close()


async def test_stream_says_that_a_row_was_inserted_and_ends_with_the_app(dsn: str) -> None:
    app = create_app(dsn)
    state = app.state.web
    watch = Watch(lambda: state.client.database.run(dashboard.watch_changes()), seconds=0.05)
    stream = changes(watch, state.stopping)
    try:
        assert await anext(stream) == "retry: 3000\n\n"
        assert (await anext(stream)).startswith("event: change")
        with database(dsn) as connection:
            insert_task(connection)
        async with asyncio.timeout(20):
            assert (await anext(stream)).startswith("event: change")
        state.stopping.set()
        assert [line async for line in stream if not line.startswith(("event", ":"))] == []
        assert len(watch) == 0
    finally:
        await watch.close()
        await state.close()


async def test_stream_is_for_those_who_may_look(dsn: str) -> None:
    async with web(dsn, PROTECTED) as client:
        answer = await client.get("/live")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login"
