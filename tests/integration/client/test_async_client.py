"""The client for event loops: what differs from the one for threads."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import DatabaseUnavailable, InvalidTask, SchemaMismatch, TaskNotFound, TransitionRefused
from pgsched.domain.task_filters import STATUSES
from pgsched.domain.task_spec import TaskSpec
from tests.support.tables import database, set_dead, set_running

LAST_DAY = datetime(9999, 12, 31, 12, tzinfo=UTC)
"""Refused by the database, not by Python."""


def run(dsn: str, work: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
    """Let ``work`` do something with a client, in an event loop of its own."""

    async def main() -> Any:
        async with AsyncClient(dsn) as client:
            return await work(client)

    return asyncio.run(main())


def test_methods_are_those_of_the_client_for_threads() -> None:
    def signatures(kind: type) -> dict[str, Any]:
        return {
            name: [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]
            for name, method in vars(kind).items()
            if not name.startswith("_") and callable(method)  # not what `async` clients alone have: a property
        }

    assert signatures(AsyncClient) == signatures(Client)


def test_scheduled_task_reads_back_as_it_was_given(dsn: str) -> None:
    async def work(client: AsyncClient) -> None:
        task = await client.get(await client.schedule("mail", {"to": "ü"}, every="15m", times=2))
        assert (task.payload, task.schedule_type, task.repeat_count) == ({"to": "ü"}, "repeating", 2)

    run(dsn, work)


def test_every_method_asks_what_the_other_client_asks(dsn: str) -> None:
    async def work(client: AsyncClient) -> None:
        task_id = await client.schedule("mail")
        assert await client.disable(task_id)
        assert await client.enable(task_id)
        assert await client.run_now(task_id) == task_id
        await client.cancel(task_id)
        await client.retry(task_id)
        assert [task.id for task in await client.list_tasks(queue="default")] == [task_id]
        assert await client.executions(task_id) == []
        assert await client.logs(task_id) == []
        with database(dsn) as db:
            set_dead(db, task_id)
        assert [task.id for task in await client.dead()] == [task_id]
        for change in (client.retry_dead, client.purge_dead):
            with pytest.raises(InvalidTask, match="all must be true where no filter is given"):
                await change()
        assert await client.retry_dead(all=True) == 1
        with database(dsn) as db:
            set_dead(db, task_id)
        await client.pause_queue("default")
        (queue,) = await client.queues()
        assert (queue.paused, queue.dead) == (True, 1)
        await client.resume_queue("default")
        assert await client.purge_dead(all=True) == 1
        assert await client.workers() == []
        stats = (await client.stats()).as_dict()
        assert {one["status"] for one in stats.pop("statuses")} == set(STATUSES)
        assert stats == {
            "queues": [queue.as_dict() | {"paused": False, "dead": 0}],
            "workers": [],
            "unhandled": [],
        }

    run(dsn, work)


def test_errors_are_those_of_the_other_client(dsn: str) -> None:
    async def work(client: AsyncClient) -> None:
        with pytest.raises(TaskNotFound, match="task 4711 does not exist"):
            await client.cancel(4711)
        with pytest.raises(InvalidTask, match="priority must be between 1 and 10, got 99"):
            await client.schedule("mail", priority=99)
        with pytest.raises(InvalidTask, match="scheduled_for must be between the years 1 and 9999"):
            await client.schedule("mail", at=LAST_DAY)
        task_id = await client.schedule("mail")
        with database(dsn) as db:
            set_running(db, task_id)
        with pytest.raises(TransitionRefused, match="cannot be deleted"):
            await client.delete(task_id)

    run(dsn, work)


def test_task_is_part_of_the_caller_s_transaction(dsn: str) -> None:
    async def work(client: AsyncClient) -> None:
        async with await AsyncConnection.connect(dsn, row_factory=dict_row) as connection:
            task_id = await client.schedule("mail", connection=connection)
            with pytest.raises(TaskNotFound):
                await client.get(task_id)
            await connection.commit()
            assert (await client.get(task_id)).id == task_id

    run(dsn, work)


def test_connection_for_threads_is_a_type_error(dsn: str) -> None:
    async def work(client: AsyncClient) -> None:
        with psycopg.connect(dsn) as connection:
            with pytest.raises(TypeError, match=r"connection must be a psycopg\.AsyncConnection, got a psycopg\."):
                await client.schedule("mail", connection=connection)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match=r"connection must be a psycopg\.AsyncConnection"):
                await client.schedule_many([], connection=connection)  # type: ignore[arg-type]

    run(dsn, work)


def test_async_connection_is_a_type_error_for_the_other_client(dsn: str) -> None:
    async def main() -> None:
        async with await AsyncConnection.connect(dsn) as connection:
            raises = pytest.raises(TypeError, match=r"connection must be a psycopg\.Connection, got a psycopg\.")
            with Client(dsn) as client, raises:
                client.schedule("mail", connection=connection)  # type: ignore[arg-type]

    asyncio.run(main())


def test_many_tasks_are_inserted_at_once(dsn: str) -> None:
    async def work(client: AsyncClient) -> None:
        known = await client.schedule("mail", idempotency_key="k")
        specs = [TaskSpec(task_type="mail", idempotency_key=key, delay=5) for key in (None, "k", None)]
        ids = await client.schedule_many(specs)
        assert ids[1] == known
        assert len({*ids}) == len(await client.list_tasks()) == 3

    run(dsn, work)


def test_many_tasks_are_all_or_none(dsn: str) -> None:
    async def work(client: AsyncClient) -> None:
        specs = [TaskSpec(task_type="mail"), TaskSpec(task_type="mail", at=LAST_DAY)]
        with pytest.raises(InvalidTask, match="task 1: scheduled_for must be"):
            await client.schedule_many(specs)
        assert await client.list_tasks() == []

    run(dsn, work)


def test_many_tasks_are_part_of_the_caller_s_transaction(dsn: str) -> None:
    async def work(client: AsyncClient) -> None:
        async with await AsyncConnection.connect(dsn) as connection:
            await client.schedule_many([TaskSpec(task_type="mail")], connection=connection)
            assert await client.list_tasks() == []

        assert len(await client.list_tasks()) == 1

    run(dsn, work)


def test_many_coroutines_share_one_client(dsn: str) -> None:
    async def work(client: AsyncClient) -> None:
        await asyncio.gather(*(client.schedule("mail") for _ in range(40)))
        assert len(await client.list_tasks(limit=100)) == 40

    run(dsn, work)


def test_client_may_be_used_in_one_loop_after_another(dsn: str) -> None:
    client = AsyncClient(dsn)
    first = asyncio.run(client.schedule("mail"))
    task = asyncio.run(client.get(first))
    asyncio.run(client.close())
    assert task.id == first


def test_dsn_that_leads_nowhere_is_one_line(tmp_path: Any) -> None:
    async def work(client: AsyncClient) -> None:
        with pytest.raises(DatabaseUnavailable, match=f"cannot connect to PostgreSQL at {tmp_path}"):
            await client.queues()

    run(f"host={tmp_path} dbname=x", work)


def test_database_without_the_schema_says_what_to_do(empty_dsn: str) -> None:
    async def work(client: AsyncClient) -> None:
        with pytest.raises(SchemaMismatch, match="run 'pgsched migrate'"):
            await client.schedule("mail")

    run(empty_dsn, work)


def test_closed_client_says_so(dsn: str) -> None:
    async def main() -> None:
        client = AsyncClient(dsn)
        await client.close()
        with pytest.raises(DatabaseUnavailable, match="the client is closed"):
            await client.queues()

    asyncio.run(main())
