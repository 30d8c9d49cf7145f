"""The REST API's stream of events, over a real connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from pgsched.web import WebSettings
from pgsched.web.server import serving
from pgsched.web.services.event_hub import LISTENING, MAX_WAITING, Subscription
from tests.support.tables import database, insert_task
from tests.support.waiting import wait_until_async
from tests.support.web_face import OPERATOR_TOKEN, VIEWER_TOKEN

Events = AsyncIterator[dict[str, Any]]


@asynccontextmanager
async def following(address: str, token: str | None = None, **query: Any) -> AsyncIterator[Events]:
    """The events of a stream that has begun."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as http,
        http.stream("GET", "api/v1/events", params=query) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")

        async def events() -> Events:
            kind = None
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    assert event["event"] == kind
                    yield event

        read = events()
        assert await anext(read) == LISTENING
        yield read


def cancelled(dsn: str, queue: str, task_type: str = "mail") -> int:
    """A task of a queue that was cancelled, which workers and people are told."""
    with database(dsn) as connection:
        task_id = insert_task(connection, task_type, queue=queue)
        connection.execute("select pgsched.cancel(%s)", (task_id,))
    return task_id


def let_tell(dsn: str, *queues: str) -> None:
    with database(dsn) as connection:
        for queue in queues:
            connection.execute("insert into pgsched.queues (name, events) values (%s, true)", (queue,))


async def test_events_of_the_queues_that_tell_come_as_they_happen(dsn: str) -> None:
    let_tell(dsn, "mail", "other")
    with serving(dsn=dsn, settings=WebSettings(port=0)) as address:
        async with following(address) as all_of_them, following(address, queue="other") as some:
            cancelled(dsn, "silent")
            first, second = cancelled(dsn, "mail"), cancelled(dsn, "other")
            one, other = await anext(all_of_them), await anext(all_of_them)
            assert [(one["id"], one["queue"]), (other["id"], other["queue"])] == [(first, "mail"), (second, "other")]
            assert (await anext(some))["id"] == second


async def test_many_streams_share_one_connection_that_ends_with_the_last(dsn: str) -> None:
    with database(dsn) as connection, serving(dsn=dsn, settings=WebSettings(port=0)) as address:

        def listeners() -> int:
            row = connection.execute(
                "select count(*) as n from pg_stat_activity where datname = current_database() and query like 'listen%'"
            ).fetchone()
            assert row is not None
            return int(row["n"])

        async with following(address), following(address), following(address):
            assert listeners() == 1
        await wait_until_async(lambda: listeners() == 0, message="nobody listens any more")


async def test_lost_connection_is_told_and_made_again(dsn: str) -> None:
    let_tell(dsn, "mail")
    with database(dsn) as connection, serving(dsn=dsn, settings=WebSettings(port=0)) as address:
        async with following(address) as events:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and query like 'listen%'"
            )
            assert await anext(events) == LISTENING
            task_id = cancelled(dsn, "mail")
            assert (await anext(events))["id"] == task_id


async def test_stream_ends_with_the_server(dsn: str) -> None:
    context = serving(dsn=dsn, settings=WebSettings(port=0))
    address = context.__enter__()
    async with following(address) as events:
        await asyncio.to_thread(context.__exit__, None, None, None)
        assert [event async for event in events] == []


async def test_viewers_are_not_told_hidden_errors(dsn: str) -> None:
    settings = WebSettings(port=0, viewer_token=VIEWER_TOKEN, operator_token=OPERATOR_TOKEN, hide_payloads=True)
    told = {"event": "failed", "id": 1, "task_type": "mail", "queue": "mail", "error": "hunter2"}
    with database(dsn) as connection, serving(dsn=dsn, settings=settings) as address:
        async with following(address, VIEWER_TOKEN) as seen, following(address, OPERATOR_TOKEN) as all_seen:
            connection.execute("select pg_notify('pgsched_events', 'not JSON')")
            connection.execute("select pg_notify('pgsched_events', %s)", (json.dumps(told),))
            assert await anext(seen) == told | {"error": None}
            assert await anext(all_seen) == told


async def test_unknown_kind_of_event_and_stranger_are_refused(dsn: str) -> None:
    with serving(dsn=dsn, settings=WebSettings(port=0)) as address:
        assert (await asyncio.to_thread(httpx.get, f"{address}api/v1/events?event=x")).status_code == 422
    with serving(dsn=dsn, settings=WebSettings(port=0, viewer_token=VIEWER_TOKEN)) as address:
        assert (await asyncio.to_thread(httpx.get, f"{address}api/v1/events")).status_code == 401


async def test_subscriber_that_is_too_slow_is_let_go(dsn: str) -> None:
    slow = Subscription()
    for number in range(MAX_WAITING + 5):
        slow.put({"event": "completed", "id": number})
    for number in range(MAX_WAITING):
        assert await slow.next() == {"event": "completed", "id": number}
    assert await slow.next() is None
