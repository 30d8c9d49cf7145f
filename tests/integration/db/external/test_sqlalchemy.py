"""Tasks in the transactions of SQLAlchemy's sessions and connections, sync and async, and of asyncpg's connections.

Tried without the savepoints of :mod:`pgsched.db.external`: the tests of refused tasks fail, by every driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import asyncpg
import pytest
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from pgsched import App
from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import InvalidTask, SchemaMismatch, TaskNotFound, TransitionRefused
from pgsched.domain.task_spec import TaskSpec
from pgsched.domain.workflow import group, parallel, step
from tests.support.engine import engine, handlers, running_worker
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until_async

LATER = datetime(2030, 6, 1, 12, tzinfo=UTC)
SYNC = [
    pytest.param("psycopg"),
    pytest.param(
        "psycopg2", marks=pytest.mark.skipif(find_spec("psycopg2") is None, reason="psycopg2 is not installed")
    ),
]
ASYNC = ["psycopg", "asyncpg"]
sync_drivers = pytest.mark.parametrize("driver", SYNC)
async_drivers = pytest.mark.parametrize("driver", ASYNC)


class _Stop(Exception):
    pass


def _url(dsn: str, driver: str) -> sqlalchemy.URL:
    place = conninfo_to_dict(dsn)
    return sqlalchemy.URL.create(
        f"postgresql+{driver}",
        username=str(place["user"]),
        query={"host": str(place["host"]), "port": str(place["port"])},
        database=str(place["dbname"]),
    )


@contextmanager
def _engine(dsn: str, driver: str, **options: Any) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(_url(dsn, driver), poolclass=NullPool, **options)
    try:
        yield engine
    finally:
        engine.dispose()


@asynccontextmanager
async def _async_engine(dsn: str, driver: str, **options: Any) -> AsyncIterator[Any]:
    engine = create_async_engine(_url(dsn, driver), poolclass=NullPool, **options)
    try:
        yield engine
    finally:
        await engine.dispose()


def _types(dsn: str) -> list[str]:
    with database(dsn) as connection:
        rows = connection.execute("select task_type::text from pgsched.tasks order by id").fetchall()
    return [row["task_type"] for row in rows]


# Sync.


@sync_drivers
def test_task_is_there_if_and_only_if_the_session_commits(dsn: str, driver: str) -> None:
    with _engine(dsn, driver) as engine, Client(dsn) as client:
        with Session(engine) as session:
            client.schedule("undone", connection=session)
            session.rollback()
        with Session(engine) as session:
            client.schedule("left", connection=session)
        with Session(engine) as session:
            client.schedule("mail", {"to": "ada"}, connection=session)
            assert _types(dsn) == []
            session.commit()
    assert _types(dsn) == ["mail"]


@sync_drivers
@pytest.mark.parametrize("begun", [False, True], ids=["first in the transaction", "after a statement"])
def test_task_is_there_if_and_only_if_the_connection_commits(dsn: str, driver: str, begun: bool) -> None:
    with _engine(dsn, driver) as engine, Client(dsn) as client:
        for task_type, end in (("undone", "rollback"), ("mail", "commit")):
            with engine.connect() as connection:
                if begun:
                    connection.execute(sqlalchemy.text("select 1"))
                client.schedule(task_type, connection=connection)
                client.schedule_many([TaskSpec(task_type=task_type)] * 2, connection=connection)
                assert connection.in_transaction()
                assert _types(dsn) == []
                getattr(connection, end)()
    assert _types(dsn) == ["mail"] * 3


@sync_drivers
def test_savepoint_that_is_rolled_back_takes_its_task_along(dsn: str, driver: str) -> None:
    with _engine(dsn, driver) as engine, Client(dsn) as client, Session(engine) as session:
        client.schedule("outer", connection=session)
        with suppress(_Stop), session.begin_nested():
            client.schedule("inner", connection=session)
            raise _Stop
        with session.begin_nested():
            client.schedule("kept", connection=session)
        session.commit()
    assert _types(dsn) == ["outer", "kept"]


@sync_drivers
def test_refused_task_leaves_the_transaction_as_it_was(dsn: str, driver: str) -> None:
    with _engine(dsn, driver) as engine, Client(dsn) as client, Session(engine) as session:
        client.schedule("before", connection=session)
        with pytest.raises(InvalidTask, match="depends_on: task 404 does not exist"):
            client.schedule("mail", depends_on=[404], connection=session)
        with pytest.raises(InvalidTask, match="depends_on"):
            client.schedule_many([TaskSpec(task_type="mail", depends_on=[404])], connection=session)
        client.schedule("after", connection=session)
        session.commit()
    assert _types(dsn) == ["before", "after"]


@sync_drivers
def test_every_option_comes_through(dsn: str, driver: str) -> None:
    with _engine(dsn, driver) as engine, Client(dsn) as client, Session(engine) as session:
        first = client.schedule("mail", {"text": "ä: %s :x"}, idempotency_key="k", at=LATER, connection=session)
        assert client.schedule("mail", idempotency_key="k", connection=session) == first
        many = [TaskSpec(task_type="mail", idempotency_key="k"), TaskSpec(task_type="mail", priority=9, tags=["a"])]
        known, new = client.schedule_many(many, connection=session)
        cron = client.schedule("report", cron="0 8 * * 1", timezone="Europe/Berlin", connection=session)
        every = client.schedule("report", every="15m", times=4, enabled=False, connection=session)
        after = client.schedule("mail", depends_on=[first, new], timeout="1mo", connection=session)
        steps = group(parallel(step("mail", name="a"), step("mail", name="b")))
        whole = client.schedule_group(steps, name="both", connection=session)
        session.commit()
    assert known == first
    with database(dsn) as connection:
        row = task_row(connection, first)
        assert (row["payload"], row["scheduled_for"]) == ({"text": "ä: %s :x"}, LATER)
        assert (task_row(connection, new)["priority"], task_row(connection, new)["tags"]) == (9, ["a"])
        assert task_row(connection, cron)["schedule_type"] == "recurring"
        assert task_row(connection, every)["repeat_count"] == 4
        assert (task_row(connection, after)["status"], task_row(connection, after)["depends_on"]) == (
            "blocked",
            [first, new],
        )
        assert task_row(connection, whole)["task_name"] == "both"


@sync_drivers
def test_connection_in_autocommit_mode_takes_all_or_none(dsn: str, driver: str) -> None:
    with (
        _engine(dsn, driver, isolation_level="AUTOCOMMIT") as engine,
        Client(dsn) as client,
        engine.connect() as connection,
    ):
        client.schedule("mail", connection=connection)
        assert _types(dsn) == ["mail"]
        with pytest.raises(InvalidTask):
            client.schedule_many(
                [TaskSpec(task_type="mail"), TaskSpec(task_type="mail", depends_on=[404])], connection=connection
            )
        assert _types(dsn) == ["mail"]


@sync_drivers
def test_transaction_that_failed_before_stays_the_driver_s_error(dsn: str, driver: str) -> None:
    with _engine(dsn, driver) as engine, Client(dsn) as client, engine.connect() as connection:
        with pytest.raises(DBAPIError):
            connection.execute(sqlalchemy.text("select 1 / 0"))
        with pytest.raises(DBAPIError, match="current transaction is aborted"):
            client.schedule("mail", connection=connection)


@sync_drivers
def test_missing_schema_is_said_as_everywhere(empty_dsn: str, driver: str) -> None:
    with (
        _engine(empty_dsn, driver) as engine,
        Session(engine) as session,
        pytest.raises(SchemaMismatch, match="pgsched migrate"),
    ):
        Client(empty_dsn).schedule("mail", connection=session)


@sync_drivers
def test_event_is_sent_if_and_only_if_the_session_commits(dsn: str, driver: str) -> None:
    with _engine(dsn, driver) as engine, Client(dsn) as client, Session(engine) as session:
        known = client.schedule("order", idempotency_key="ü")
        client.emit(known, "undone", connection=session)
        session.rollback()
        new = client.schedule("order", idempotency_key="new", connection=session)
        sent = client.emit(key="new", name="at once", payload="ü :x %s", event_key="k", connection=session)
        assert client.emit(new, "at once", event_key="k", connection=session) == sent
        with pytest.raises(TaskNotFound, match=r"^task 404 does not exist$"):
            client.emit(404, "approved", connection=session)
        client.emit(key="ü", name="approved", payload={"by": ["ada"]}, connection=session)
        assert client.durable_events(known) == []
        session.commit()
        assert [(one.name, one.payload) for one in client.durable_events(known)] == [("approved", {"by": ["ada"]})]
        assert [(one.id, one.payload, one.key) for one in client.durable_events(new)] == [(sent, "ü :x %s", "k")]


def test_scoped_session_and_a_handler_s_own_schedule_will_do(dsn: str) -> None:
    app = App(dsn=dsn)

    @app.task("mail", queue="post")
    def mail(to: str) -> None:
        """Not run here."""

    with _engine(dsn, "psycopg") as engine:
        session = scoped_session(sessionmaker(engine))
        task_id = mail.schedule(to="ada", connection=session)
        session.commit()
        session.remove()
    with database(dsn) as connection:
        assert task_row(connection, task_id)["queue"] == "post"


def test_what_has_no_transaction_of_the_right_kind_is_a_type_error(dsn: str) -> None:
    client = Client(dsn)
    sqlite = sqlalchemy.create_engine("sqlite://")
    with _engine(dsn, "psycopg") as engine:
        with pytest.raises(TypeError, match=r"must be a Session or a Connection of SQLAlchemy's, got a .*\.Engine"):
            client.schedule("mail", connection=engine)
        with pytest.raises(TypeError, match=r"got a .*AsyncSession, which belongs to an event loop: use an AsyncC"):
            client.schedule("mail", connection=AsyncSession())
        with sqlite.connect() as connection, pytest.raises(TypeError, match=r"PostgreSQL, got one of .* 'sqlite'"):
            client.schedule("mail", connection=connection)


# Async.


@async_drivers
async def test_task_is_there_if_and_only_if_the_async_session_commits(dsn: str, driver: str) -> None:
    async with _async_engine(dsn, driver) as engine, AsyncClient(dsn) as client, AsyncSession(engine) as session:
        await client.schedule("undone", connection=session)
        await session.rollback()
        first = await client.schedule("mail", idempotency_key="k", connection=session)
        assert await client.schedule("mail", idempotency_key="k", connection=session) == first
        with suppress(_Stop):
            async with session.begin_nested():
                await client.schedule("inner", connection=session)
                raise _Stop
        with pytest.raises(InvalidTask, match="depends_on: task 404 does not exist"):
            await client.schedule("mail", depends_on=[404], connection=session)
        await client.schedule_many([TaskSpec(task_type="bulk", at=LATER)] * 2, connection=session)
        await client.schedule_group(group(step("mail")), connection=session)
        assert _types(dsn) == []
        await session.commit()
    assert _types(dsn) == ["mail", "bulk", "bulk", "pgsched.group"]


@async_drivers
async def test_task_is_there_if_and_only_if_the_async_connection_commits(dsn: str, driver: str) -> None:
    async with _async_engine(dsn, driver) as engine, AsyncClient(dsn) as client:
        async with engine.connect() as connection:
            await client.schedule("undone", connection=connection)
            await connection.rollback()
        with suppress(_Stop):
            async with engine.begin() as connection:
                await client.schedule("undone", connection=connection)
                raise _Stop
        async with engine.begin() as connection:
            await client.schedule("mail", cron="0 8 * * *", connection=connection)
            assert _types(dsn) == []
        alone = engine.execution_options(isolation_level="AUTOCOMMIT")
        async with alone.connect() as connection:
            await client.schedule("alone", connection=connection)
            assert _types(dsn) == ["mail", "alone"]


@async_drivers
async def test_event_is_sent_if_and_only_if_the_async_session_commits(dsn: str, driver: str) -> None:
    async with _async_engine(dsn, driver) as engine, AsyncClient(dsn) as client, AsyncSession(engine) as session:
        known = await client.schedule("order", idempotency_key="k")
        await client.emit(known, "undone", connection=session)
        await session.rollback()
        with pytest.raises(TaskNotFound, match=r"^a task with the key 'nobody' does not exist$"):
            await client.emit(key="nobody", name="approved", connection=session)
        sent = await client.emit(key="k", name="approved", payload={"by": "ü"}, connection=session)
        assert await client.durable_events(known) == []
        await session.commit()
        assert [(one.id, one.payload) for one in await client.durable_events(known)] == [(sent, {"by": "ü"})]


@async_drivers
async def test_sleeping_worker_wakes_at_the_commit(dsn: str, driver: str) -> None:
    ran: list[str] = []

    async def mail(to: str) -> None:
        ran.append(to)

    async with (
        running_worker(dsn, handlers(mail=mail), poll_interval=600) as worker,
        _async_engine(dsn, driver) as engine,
        AsyncClient(dsn) as client,
    ):
        await wait_until_async(lambda: worker.counts.listener_connected, message="the worker listens")
        with database(dsn) as connection:

            def asleep() -> bool:
                row = connection.execute("select bool_or(sleeping_until > now()) as so from pgsched.workers").fetchone()
                return bool(row and row["so"])

            await wait_until_async(asleep, message="the worker sleeps")
        async with engine.begin() as one:
            await client.schedule("mail", {"to": "ada"}, connection=one)
        await wait_until_async(lambda: ran == ["ada"], message="the task has run")


async def test_wrong_kind_for_an_event_loop_is_a_type_error(dsn: str) -> None:
    client = AsyncClient(dsn)
    with _engine(dsn, "psycopg") as engine, Session(engine) as session:
        with pytest.raises(TypeError, match=r"got a .*\.Session, which belongs to a thread: use a Client"):
            await client.schedule("mail", connection=session)
        with pytest.raises(TypeError, match="an AsyncSession or an AsyncConnection"):
            await client.schedule("mail", connection=engine)
    with pytest.raises(TypeError, match=r"must be a psycopg\.AsyncConnection, got a builtins\.object"):
        await client.schedule("mail", connection=object())


# Handlers with sessions of their own.


@async_drivers
async def test_scoped_session_of_one_attempt_is_not_the_next_ones(dsn: str, driver: str) -> None:
    async with _async_engine(dsn, driver) as alchemy:
        sessions = async_scoped_session(async_sessionmaker(alchemy), scopefunc=asyncio.current_task)

        async def mail(name: str) -> None:
            await sessions().execute(sqlalchemy.text("insert into kept values (:name)"), {"name": name})
            if name == "forgets":
                return
            await sessions.commit()
            await sessions.remove()

        with database(dsn) as db:
            db.execute("create table kept (name text)")
            for name in ("forgets", "commits"):
                insert_task(db, payload=Jsonb({"name": name}))
            async with engine(dsn, handlers(mail=mail), concurrency=1) as one:
                await one.work()
                assert [row["name"] for row in db.execute("select name from kept")] == ["commits"]
            for session in sessions.registry.registry.values():
                await session.close()


# asyncpg itself.


async def test_task_joins_the_transaction_of_asyncpg(dsn: str) -> None:
    place = conninfo_to_dict(dsn)
    pool = await asyncpg.create_pool(
        host=place["host"], port=place["port"], user=place["user"], database=place["dbname"], min_size=1, max_size=1
    )
    async with pool, AsyncClient(dsn) as client, pool.acquire() as connection:
        stopped = await client.schedule("stopped")
        await client.cancel(stopped)
        with suppress(_Stop):
            async with connection.transaction():
                await client.schedule("undone", connection=connection)
                raise _Stop
        async with connection.transaction():
            first = await client.schedule("mail", {"a": 1}, idempotency_key="k", connection=connection)
            with pytest.raises(InvalidTask, match="depends_on: task 404 does not exist"):
                await client.schedule("mail", depends_on=[404], connection=connection)
            again = TaskSpec(task_type="mail", idempotency_key="k")
            assert await client.schedule_many([again], connection=connection) == [first]
            assert _types(dsn) == ["stopped"]
        assert _types(dsn) == ["stopped", "mail"]
        await client.schedule("alone", connection=connection)
        with suppress(_Stop):
            async with connection.transaction():
                await client.emit(first, "undone", connection=connection)
                raise _Stop
        async with connection.transaction():
            sent = await client.emit(key="k", name="approved", payload=[1, "ü"], connection=connection)
            with pytest.raises(TransitionRefused, match=rf"^task {stopped} is cancelled: no wait of it can take"):
                await client.emit(stopped, "approved", connection=connection)
        assert [(one.id, one.payload) for one in await client.durable_events(first)] == [(sent, [1, "ü"])]
    assert _types(dsn) == ["stopped", "mail", "alone"]
    with pytest.raises(TypeError, match="belongs to an event loop"):
        Client(dsn).schedule("mail", connection=connection)
