"""A worker inside another program: started and stopped with it, paused, and quiet about signals."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from psycopg.types.json import Jsonb

from pgsched import App, ConfigError, Context, DatabaseUnavailable, LifespanFailed, SchemaMismatch
from tests.support.process_app import app as process_app
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until, wait_until_async

pytestmark = pytest.mark.slow

UNDER_WAY = 0.2
"""Seconds after which a claim that was under way has ended."""
Connection = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def app(dsn: str) -> App:
    app = App(dsn=dsn, capture_logs=None)
    app.task("mail")(lambda: "sent")
    return app


def workers(db: Connection) -> list[dict[str, Any]]:
    return db.execute("select queues, concurrency from pgsched.workers").fetchall()


async def completed(db: Connection, task: int) -> None:
    await wait_until_async(lambda: task_row(db, task)["status"] == "completed", message="it has run")


async def test_it_works_while_the_block_lasts(app: App, db: Connection) -> None:
    first = insert_task(db, "mail", queue="letters")
    async with app.worker(queues=["letters"], concurrency=3) as worker:
        assert workers(db) == [{"queues": ["letters"], "concurrency": 3}]
        await wait_until_async(lambda: worker.unready() is None, message="it is ready")
        await completed(db, first)
    assert workers(db) == []
    assert worker.unready() == "stopped"
    second = insert_task(db, "mail", queue="letters")
    assert task_row(db, second)["status"] == "pending"


async def test_it_is_started_again(app: App, db: Connection) -> None:
    worker = app.worker()
    assert worker.unready() == "not started"
    for _ in range(2):
        await worker.start()
        await completed(db, insert_task(db, "mail"))
        await worker.stop()
    await worker.stop()
    assert workers(db) == []


async def test_it_is_not_started_twice(app: App) -> None:
    async with app.worker() as worker:
        with pytest.raises(RuntimeError, match="started already"):
            await worker.start()


async def test_what_runs_at_the_end_is_waited_for_and_given_back_in_time(app: App, db: Connection) -> None:
    begun = asyncio.Event()

    @app.task("short")
    async def short() -> None:
        begun.set()
        await asyncio.sleep(0.1)

    @app.task("long")
    async def long() -> None:
        await asyncio.Event().wait()

    ids = [insert_task(db, "long"), insert_task(db, "short")]
    async with app.worker(shutdown_timeout=0.5) as worker:
        await begun.wait()
        await wait_until_async(lambda: worker.running == 2, message="both run")
    assert [task_row(db, task)["status"] for task in ids] == ["pending", "completed"]
    assert task_row(db, ids[0])["attempts"] == 0


async def test_signals_and_logging_are_left_alone(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    root = logging.getLogger()

    def found() -> list[Any]:
        return [*map(signal.getsignal, numbers), list(root.handlers), root.level, signal.set_wakeup_fd(-1)]

    before = found()[:-1]
    async with app.worker():
        assert found()[:-1] == before


async def test_paused_it_claims_nothing_and_runs_what_it_has(app: App, db: Connection) -> None:
    begun, released = asyncio.Event(), asyncio.Event()

    @app.task("slow")
    async def slow() -> None:
        begun.set()
        await released.wait()

    running = insert_task(db, "slow")
    async with app.worker(poll_interval=0.05) as worker:
        await begun.wait()
        worker.pause()
        assert (worker.paused, worker.unready(), worker.running) == (True, "paused", 1)
        await asyncio.sleep(UNDER_WAY)
        waiting = insert_task(db, "mail")
        released.set()
        await completed(db, running)
        await asyncio.sleep(0.3)
        assert task_row(db, waiting)["status"] == "pending"
        worker.resume()
        await completed(db, waiting)
        assert worker.unready() is None


async def test_paused_it_claims_nothing_of_a_limited_queue_with_its_finishes(app: App, db: Connection) -> None:
    db.execute("insert into pgsched.queues (name, limits) values ('default', %s)", (Jsonb({"concurrency": 1}),))
    begun, released = asyncio.Event(), asyncio.Event()

    @app.task("slow")
    async def slow() -> None:
        begun.set()
        await released.wait()

    running, waiting = insert_task(db, "slow"), insert_task(db, "mail")
    async with app.worker(poll_interval=0.05) as worker:
        await begun.wait()
        worker.pause()
        released.set()
        await completed(db, running)
        await asyncio.sleep(0.3)
        assert task_row(db, waiting)["status"] == "pending"
        worker.resume()
        await completed(db, waiting)


async def test_it_is_paused_before_it_starts_and_stops_paused(app: App, db: Connection) -> None:
    task = insert_task(db, "mail")
    worker = app.worker(poll_interval=60)
    worker.pause()
    async with worker:
        await asyncio.sleep(0.2)
        assert task_row(db, task)["status"] == "pending"
    assert workers(db) == []


# What goes wrong.


async def test_an_error_at_its_start_is_raised_there() -> None:
    with pytest.raises(DatabaseUnavailable):
        await App(dsn="host=127.0.0.1 port=1").worker().start()


async def test_a_database_without_the_schema_is_refused(empty_dsn: str) -> None:
    with pytest.raises(SchemaMismatch, match="pgsched migrate"):
        await App(dsn=empty_dsn).worker().start()


async def test_a_setting_out_of_range_is_refused_at_once(app: App) -> None:
    with pytest.raises(ConfigError, match="concurrency must be between 1 and 10000, got 0"):
        app.worker(concurrency=0)


async def test_a_lifespan_that_fails_is_raised_at_the_start_and_leaves_nothing(app: App, db: Connection) -> None:
    @app.lifespan
    async def broken() -> AsyncIterator[None]:
        raise OSError("no route to host")
        yield

    with pytest.raises(LifespanFailed, match="no route to host"):
        async with app.worker():
            pytest.fail("it has started")
    assert workers(db) == []


async def test_a_lifespan_that_is_lost_is_raised_at_the_end(app: App) -> None:
    gone = asyncio.Event()

    async def watch() -> None:
        await gone.wait()
        raise OSError("the pool is gone")

    @app.lifespan
    async def pool() -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            yield

    worker = app.worker()
    await worker.start()
    gone.set()
    await wait_until_async(lambda: worker.unready() == "stopped", message="it has ended")
    with pytest.raises(LifespanFailed, match="what lifespans opened is gone: ExceptionGroup"):
        await worker.stop()


async def test_an_error_of_the_program_comes_before_that_of_the_worker(app: App, db: Connection) -> None:
    with pytest.raises(ZeroDivisionError):
        async with app.worker():
            raise ZeroDivisionError
    assert workers(db) == []


async def test_child_processes_need_to_know_where_the_app_is(dsn: str, db: Connection) -> None:
    process_app.use(dsn)
    with pytest.raises(ConfigError, match='executor="process"'):
        await process_app.worker().start()
    task = insert_task(db, "echo")
    async with process_app.worker(app_path="tests.support.process_app:app"):
        await completed(db, task)


# Web applications.


def test_fastapi_starts_and_stops_it(app: App, dsn: str) -> None:
    @app.task("state")
    async def state(ctx: Context) -> int:
        return ctx.id

    web = FastAPI(lifespan=app.worker(concurrency=5).lifespan)

    @web.post("/mails")
    async def mail() -> int:
        return await app.async_client().schedule("mail")

    @web.get("/ready")
    async def ready(request: Request) -> str | None:
        problem: str | None = request.state.worker.unready()
        return problem

    with TestClient(web) as browser, database(dsn) as db:
        task = browser.post("/mails").json()
        wait_until(lambda: task_row(db, task)["status"] == "completed", message="it has run")
        wait_until(lambda: browser.get("/ready").json() is None, message="it is ready")
        assert len(workers(db)) == 1
    with database(dsn) as db:
        assert workers(db) == []
