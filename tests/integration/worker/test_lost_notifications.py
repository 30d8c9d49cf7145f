"""Events of which the worker was not told: the wait takes them all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from pgsched import App, Client, DurableContext
from pgsched.testing import run_due_async
from pgsched.worker.durable_runs import DurableRuns
from tests.support.tables import task_row
from tests.support.waiting import wait_until_async

Connection = psycopg.Connection[dict[str, Any]]
LISTENERS = "application_name = 'pgsched listener' and datname = current_database()"


@pytest.fixture
def app(dsn: str) -> Any:
    made = App(dsn=dsn, capture_logs=None)
    yield made
    made.close()


def emit(db: Connection, task: int) -> None:
    db.execute("select pgsched.emit(%s::bigint, 'approved', '\"ann\"')", [task])


async def test_an_event_that_came_in_time_is_taken_when_the_wait_times_out(
    app: App, db: Connection, client: Client
) -> None:
    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> Any:
        async def busy() -> None:
            emit(db, ctx.id)
            await asyncio.sleep(0.8)

        _, answer = await asyncio.gather(ctx.step("busy", busy), ctx.wait_for("approved", timeout=0.4))
        return answer

    task = client.schedule("order", max_attempts=1)
    await run_due_async(app)  # without a listener
    assert task_row(db, task)["result"] == "ann"


async def test_an_event_that_comes_while_the_run_is_loaded_needs_no_suspension(
    app: App, db: Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    told = asyncio.Event()
    load, tell = DurableRuns._load, DurableRuns.told

    async def load_too_early(self: DurableRuns, task_id: int) -> Any:
        loaded = await load(self, task_id)
        if not told.is_set():
            emit(db, task_id)
            await told.wait()
        return loaded

    def note(self: DurableRuns, task_id: int) -> None:
        tell(self, task_id)
        told.set()

    monkeypatch.setattr(DurableRuns, "_load", load_too_early)
    monkeypatch.setattr(DurableRuns, "told", note)

    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> Any:
        calls.append(ctx.id)
        return await ctx.wait_for("approved")

    async with app.worker(concurrency=2) as worker:
        await wait_until_async(
            lambda: db.execute(f"select from pg_stat_activity where {LISTENERS}").fetchone() is not None,
            message="the worker listens",
        )
        task = client.schedule("order")
        assert worker is not None
        await wait_until_async(lambda: task_row(db, task)["status"] == "completed", message="it is completed")
    assert task_row(db, task)["result"] == "ann"
    assert len(calls) == 1


async def test_a_live_wait_looks_again_when_the_listener_is_back(
    app: App, db: Connection, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DurableRuns, "told", lambda *_: None)  # every notification is lost
    waits, taken = asyncio.Event(), asyncio.Event()

    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> Any:
        async def busy() -> None:
            waits.set()
            await taken.wait()

        async def answer() -> Any:
            given = await ctx.wait_for("approved")
            taken.set()
            return given

        _, given = await asyncio.gather(ctx.step("busy", busy), answer())
        return given

    task = client.schedule("order")
    async with app.worker(concurrency=2):
        await waits.wait()
        emit(db, task)
        await wait_until_async(
            lambda: db.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {LISTENERS}").fetchall(),
            message="the listener has lost its connection",
        )
        await wait_until_async(lambda: task_row(db, task)["status"] == "completed", message="it is completed")
    assert task_row(db, task)["result"] == "ann"
