"""Pages that follow what happens."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection
from typing import Any

import httpx
import pytest

from pgsched.domain.errors import DatabaseUnavailable
from pgsched.web import create_app, parts
from pgsched.web.dashboard.live import changes
from pgsched.web.parts import parts_of
from pgsched.web.services.watch import Look, News, Watch, Watcher
from tests.support.tables import database, insert_task, set_running
from tests.support.waiting import wait_until_async
from tests.support.web_face import PROTECTED, web


async def news_of(watch: Watch, watcher: Watcher) -> News:
    await asyncio.wait_for(watcher.called.wait(), 5)
    return watch.take(watcher)


async def test_watcher_is_told_which_tables_changed_and_of_its_own_task() -> None:
    tables, tasks, asked = {"tasks": 1, "workers": 1}, {7: "a", 8: "a"}, set[int]()

    async def look(ids: Collection[int]) -> Look:
        asked.update(ids)
        return Look(dict(tables), {id: tasks[id] for id in ids if id in tasks})

    watch = Watch(look, seconds=0.001)
    one, other = watch.join(task_id=7), watch.join()
    assert (await news_of(watch, one)).changed == ["*"]  # what was before, nobody told
    assert (await news_of(watch, other)).changed == ["*"]
    await wait_until_async(lambda: asked == {7}, message="it looks")
    await asyncio.sleep(0.01)
    tables["tasks"] = 41
    told = await news_of(watch, other)
    assert told.changed == ["tasks"]
    assert told.up
    assert (await news_of(watch, one)).changed == ["tasks"]
    tasks[8] = "b"
    tasks[7] = "b"
    assert (await news_of(watch, one)).changed == ["task:7"]
    del tasks[7]
    assert (await news_of(watch, one)).changed == ["task:7"]
    assert not other.called.is_set()
    for each in (one, other):
        watch.leave(each)
    await asyncio.sleep(0)
    assert len(watch) == 0
    assert watch._task is None


async def test_watcher_is_told_of_a_change_that_comes_before_the_first_look() -> None:
    looking, go_on = asyncio.Event(), asyncio.Event()

    async def look(_ids: Collection[int]) -> Look:
        looking.set()
        await go_on.wait()
        return Look({"tasks": 1}, {7: "changed already"})

    watch = Watch(look, seconds=0.001)
    watcher = watch.join(task_id=7)
    await looking.wait()
    early = watch.take(watcher).changed  # whoever was told now would read what is shown before the change
    later = watch.join(task_id=7)
    go_on.set()
    assert [early, (await news_of(watch, watcher)).changed, (await news_of(watch, later)).changed] == [[], ["*"], ["*"]]
    await watch.close()


async def test_watcher_is_told_how_much_changes() -> None:
    now, rows = 0.0, 0

    async def look(_ids: Collection[int]) -> Look:
        nonlocal now, rows
        now, rows = now + 2, rows + 500
        return Look({"tasks": rows}, {})

    watch = Watch(look, seconds=0.001, clock=lambda: now)
    watcher = watch.join()
    await news_of(watch, watcher)
    assert (await news_of(watch, watcher)).rate == 250
    await watch.close()


@pytest.mark.parametrize("how", ["refused", "silent"])
async def test_watcher_is_told_when_the_database_goes_and_comes(how: str) -> None:
    away = False

    async def look(_ids: Collection[int]) -> Look:
        if away and how == "silent":
            await asyncio.sleep(30)
        if away:
            raise DatabaseUnavailable("gone")
        return Look({"tasks": 1}, {})

    watch = Watch(look, seconds=0.001, answer_seconds=0.05)
    watcher = watch.join()
    assert (await news_of(watch, watcher)).up
    away = True
    assert not (await news_of(watch, watcher)).up
    away = False
    assert await news_of(watch, watcher) == News(up=True, changed=["*"], rate=0)
    await watch.close()


def read_news(text: str) -> dict[str, Any]:
    head, _, data = text.strip().partition("\n")
    assert head == "event: news"
    told: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return told


@pytest.mark.slow
async def test_stream_says_what_changed_and_that_it_lives_and_ends_with_the_app(dsn: str) -> None:
    app = create_app(dsn)
    state = app.state.web
    watch = Watch(state._look, seconds=0.05)
    with database(dsn) as connection:
        made = insert_task(connection)
        stream = changes(watch, state.stopping, task_id=made, beat=0.2)
        seen: set[str] = set()
        try:
            assert await anext(stream) == "retry: 3000\n\n"
            assert read_news(await anext(stream))["changed"] == ["*"]
            async with asyncio.timeout(20):
                while read_news(await anext(stream))["changed"]:
                    pass  # what the insert did to the statistics
                connection.execute("update pgsched.tasks set task_name = 'renamed' where id = %s", (made,))
                while not {"tasks", f"task:{made}"} <= seen:
                    told = read_news(await anext(stream))
                    assert told["up"]
                    seen.update(told["changed"])
            state.stopping.set()
            assert [line async for line in stream if not line.startswith(("event", ":"))] == []
            assert len(watch) == 0
        finally:
            await watch.close()
            await state.close()


async def test_renewed_lease_is_no_change_of_a_task_and_its_progress_is(dsn: str) -> None:
    state = create_app(dsn).state.web
    try:
        with database(dsn) as connection:
            made = insert_task(connection)
            set_running(connection, made)
            before = (await state._look([made])).tasks[made]
            connection.execute("update pgsched.tasks set locked_until = now() + '1 h' where id = %s", (made,))
            assert (await state._look([made])).tasks[made] == before
            connection.execute("update pgsched.tasks set progress = '0.5' where id = %s", (made,))
            assert (await state._look([made])).tasks[made] != before
            connection.execute("delete from pgsched.tasks where id = %s", (made,))
            assert (await state._look([made])).tasks == {}
    finally:
        await state.close()


async def test_only_parts_that_differ_are_sent(dsn: str) -> None:
    with database(dsn) as connection:
        made = insert_task(connection)
        async with web(dsn) as client:
            versions = {part.id: part.version for part in parts_of((await client.get(f"/tasks/{made}")).text)}
            assert {"live-head", "live-task", "live-data", "live-attempts", "live-logs"} <= versions.keys()
            stamped = (await client.get(f"/tasks/{made}")).text
            assert re.findall(r'data-version="(\w+)"', stamped)

            async def ask(known: dict[str, str]) -> httpx.Response:
                said = " ".join(f"{id}={version}" for id, version in known.items())
                return await client.get(f"/tasks/{made}", headers={parts.HEADER: said})

            known = dict(re.findall(r'id="(live-[a-z]+)"[^<>]*data-version="(\w+)"', stamped))
            assert known.keys() == versions.keys()
            assert (await ask(known)).status_code == 204
            set_running(connection, made)
            found = [part.id for part in parts_of((await ask(known)).text)]
            assert "live-head" in found
            assert "live-data" not in found
            assert [part.id for part in parts_of((await ask({"live-data": ""})).text)] == ["live-data"]


async def test_list_is_followed_as_of_its_first_row(dsn: str) -> None:
    with database(dsn) as connection:
        first = insert_task(connection)
        async with web(dsn) as client:
            assert f'data-anchor="since={first}"' in (await client.get("/tasks")).text
            later = [insert_task(connection) for _ in range(2)]
            page = (await client.get(f"/tasks?since={first}")).text
            assert 'data-new="2"' in page
            assert f"/tasks/{first}" in page
            assert f"/tasks/{later[0]}" not in page
            for _ in range(60):
                insert_task(connection)
            assert 'data-new="50+"' in (await client.get(f"/tasks?since={first}")).text


async def test_stream_is_for_those_who_may_look(dsn: str) -> None:
    async with web(dsn, PROTECTED) as client:
        answer = await client.get("/live")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login"
