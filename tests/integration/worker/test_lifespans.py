"""Lifespans: opened before the first handler, closed after the last one, whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from pgsched import App, Context, LifespanFailed, RegistrationError, Router
from pgsched.domain.settings import WorkerSettings
from pgsched.testing import call, run_due_async
from pgsched.worker.worker import Worker
from tests.support.engine import PATIENCE, running_worker
from tests.support.tables import insert_task
from tests.support.waiting import wait_until_async

Connection = psycopg.Connection[dict[str, Any]]


class Client:
    def __init__(self, name: str) -> None:
        self.name = name


def app_with(*names: str) -> tuple[App, list[str]]:
    """An app with a lifespan for each name, and what happens to them."""
    app, happened = App(), list[str]()
    for name in names:
        app.lifespan(opening(name, happened))
    return app, happened


def opening(name: str, happened: list[str], *, fails: str | None = None) -> Any:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[dict[str, Client]]:
        happened.append(f"open {name}")
        if fails == "open":
            raise OSError("no route to host")
        try:
            yield {name: Client(name)}
        finally:
            happened.append(f"close {name}")
        if fails == "close":
            raise OSError("broken pipe")

    return lifespan


def worker_of(app: App, dsn: str) -> Any:
    return running_worker(dsn, app.registry, hooks=app.hooks, surroundings=app.surroundings(), capture_logs="off")


async def failing(app: App, dsn: str) -> str:
    """What a worker of an app fails with."""
    worker = Worker(dsn=dsn, registry=app.registry, settings=WorkerSettings(), surroundings=app.surroundings())
    with pytest.raises(LifespanFailed) as failed:
        await asyncio.wait_for(worker.run(), PATIENCE)
    return str(failed.value)


def in_table(db: Connection, column: str) -> list[Any]:
    return [row[column] for row in db.execute(f"select {column} from pgsched.tasks order by id")]


async def test_handlers_find_what_lifespans_opened_and_it_is_closed_after_them(dsn: str, db: Connection) -> None:
    app, happened = app_with("http", "pool")
    released = asyncio.Event()

    @app.task("on_loop")
    async def on_loop(ctx: Context) -> str:
        happened.append("begin")
        await released.wait()
        happened.append("end")
        return ctx.state["http"].name + ctx.state.pool.name

    @app.task("plain")
    def plain(ctx: Context) -> int:
        return len(list(ctx.state))

    insert_task(db, task_type="plain")
    insert_task(db, task_type="on_loop")
    async with worker_of(app, dsn) as worker:
        await wait_until_async(lambda: "begin" in happened, message="the handler runs")
        worker.stop()
        await asyncio.sleep(0.05)
        assert "close pool" not in happened
        released.set()
    assert happened == ["open http", "open pool", "begin", "end", "close pool", "close http"]
    assert in_table(db, "result") == [2, "httppool"]


async def test_lifespans_of_routers_nest_in_those_of_the_app(dsn: str) -> None:
    app, happened = app_with()
    inner, outer = Router(), Router()
    inner.lifespan(opening("inner", happened))
    outer.lifespan(opening("outer", happened))
    outer.include(inner)
    app.include(outer)
    app.lifespan(opening("app", happened))
    async with worker_of(app, dsn):
        await wait_until_async(lambda: len(happened) == 3, message="all are open")
    opened = ["app", "outer", "inner"]
    assert happened == [f"open {name}" for name in opened] + [f"close {name}" for name in reversed(opened)]


async def test_an_async_generator_function_is_a_lifespan(dsn: str, db: Connection) -> None:
    app = App()

    @app.lifespan
    async def client() -> AsyncIterator[Client]:
        yield Client("http")

    app.task("name")(lambda ctx: ctx.state.get(Client).name)
    insert_task(db, task_type="name")
    async with worker_of(app, dsn):
        await wait_until_async(lambda: in_table(db, "result") == ["http"], message="it has run")


async def test_an_error_at_opening_ends_the_worker_closes_the_others_and_claims_nothing(
    dsn: str, db: Connection
) -> None:
    app, happened = app_with("http")
    app.lifespan(opening("pool", happened, fails="open"))
    app.task("mail")(lambda: None)
    insert_task(db)
    said = await failing(app, dsn)
    assert said.startswith(f"the lifespan {__name__}.opening.<locals>.lifespan could not be opened: OSError: no route")
    assert said.endswith(")")
    assert "test_lifespans.py, line " in said
    assert happened == ["open http", "open pool", "close http"]
    assert in_table(db, "status") == ["pending"]
    assert db.execute("select from pgsched.workers").fetchall() == []


async def test_two_that_yield_the_same_name_end_the_worker(dsn: str) -> None:
    app, _ = app_with("http", "http")
    assert "'http' is yielded by" in await failing(app, dsn)


async def test_a_database_that_cannot_be_reached_closes_what_was_opened() -> None:
    app, happened = app_with("http")
    worker = Worker(
        dsn="host=127.0.0.1 port=1",
        registry=app.registry,
        settings=WorkerSettings(),
        surroundings=app.surroundings(),
    )
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        await asyncio.wait_for(worker.run(), PATIENCE)
    assert happened == ["open http", "close http"]


async def test_an_error_at_closing_is_logged_and_changes_nothing(
    dsn: str, db: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    app, happened = app_with()
    app.lifespan(opening("outer", happened))
    app.lifespan(opening("inner", happened, fails="close"))
    app.task("mail")(lambda: None)
    insert_task(db)
    async with worker_of(app, dsn):
        await wait_until_async(lambda: in_table(db, "status") == ["completed"], message="it has run")
    assert happened[2:] == ["close inner", "close outer"]
    told = capsys.readouterr()
    assert "lifespan_not_closed" in told.out + told.err
    assert "broken pipe" in told.out + told.err


async def test_one_that_does_not_close_is_cancelled(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pgsched.worker.lifespans.CLOSE_SECONDS", 0.05)
    app, opened = App(), asyncio.Event()

    @app.lifespan
    async def stuck() -> AsyncIterator[None]:
        opened.set()
        yield
        await asyncio.Event().wait()

    async with worker_of(app, dsn):
        await opened.wait()
    told = capsys.readouterr()
    assert "lifespan_not_closed" in told.out + told.err


async def test_a_worker_is_stopped_while_a_lifespan_opens(dsn: str) -> None:
    app, happened = app_with("http")
    opening_now = asyncio.Event()

    @app.lifespan
    async def slow() -> AsyncIterator[None]:
        opening_now.set()
        await asyncio.Event().wait()
        yield

    async with worker_of(app, dsn):
        await opening_now.wait()
    assert happened == ["open http", "close http"]


async def test_a_lifespan_that_ends_by_itself_ends_the_worker(dsn: str) -> None:
    app, broken = App(), asyncio.Event()

    async def watch() -> None:
        await broken.wait()
        raise OSError("the pool is gone")

    @app.lifespan
    @asynccontextmanager
    async def pool() -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            broken.set()
            yield

    assert "what lifespans opened is gone: ExceptionGroup" in await failing(app, dsn)


async def test_a_handler_that_cancels_all_tasks_does_not_close_them(dsn: str, db: Connection) -> None:
    app, happened = app_with("http")

    @app.task("rude")
    async def rude() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if task.get_name().startswith("pgsched"):
                task.cancel()

    insert_task(db, task_type="rude")
    async with worker_of(app, dsn):
        await wait_until_async(lambda: in_table(db, "status") == ["completed"], message="it has run")
        assert happened == ["open http"]


# Tests of applications.


async def test_run_due_opens_and_closes_lifespans(dsn: str, db: Connection) -> None:
    app, happened = app_with("http")
    app.use(dsn)
    app.task("name")(lambda ctx: ctx.state["http"].name)
    insert_task(db, task_type="name")
    assert [one.result for one in await run_due_async(app)] == ["http"]
    assert happened == ["open http", "close http"]


def test_call_opens_them_or_takes_what_it_is_given() -> None:
    app, happened = app_with("http")
    name = app.task("name")(lambda ctx: ctx.state["http"].name)
    without = app.task("without")(lambda: 7)
    assert call(name, state={"http": Client("given")}).result == "given"
    assert call(without).result == 7
    assert happened == []
    assert call(name).result == "http"
    assert happened == ["open http", "close http"]


# What is none.


async def coroutine() -> None: ...


async def with_argument(app: object) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (coroutine, "coroutine must be an async context manager, got a coroutine function"),
        (with_argument, "with_argument must take no arguments, got 'app'"),
    ],
)
def test_a_function_that_is_no_lifespan_is_refused(function: Any, words: str) -> None:
    with pytest.raises(RegistrationError, match=words):
        App().lifespan(function)
