"""Middleware in a worker, in tests of applications, and around child processes."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched import App, Context
from pgsched.execution.middleware import CallNext
from pgsched.execution.surroundings import Surroundings
from pgsched.testing import call, run_due_async
from tests.support.engine import history, running_worker
from tests.support.process_app import SERVE
from tests.support.process_app import app as process_app
from tests.support.tables import insert_task, task_row
from tests.support.waiting import wait_until_async

Connection = psycopg.Connection[dict[str, Any]]


class Around:
    """Middleware that notes what it sees."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, ctx: Context, call_next: CallNext) -> Any:
        try:
            value = await call_next(ctx)
        except BaseException as error:
            self.seen.append((ctx.task_type, str(error)))
            raise
        self.seen.append((ctx.task_type, value))
        return value


def app_with(around: Around) -> App:
    app = App()
    app.middleware(around)
    app.task("plain")(lambda: 7)

    @app.task("async")
    async def on_loop() -> int:
        return 8

    @app.task("transactional", transactional=True)
    async def transactional(ctx: Context) -> int:
        await ctx.connection.execute("select 1")
        return 9

    return app


async def test_middleware_is_around_every_attempt_in_a_worker(dsn: str, db: Connection) -> None:
    around = Around()
    app = app_with(around)
    ids = [insert_task(db, task_type) for task_type in ("plain", "async", "transactional")]
    async with running_worker(dsn, app.registry, surroundings=app.surroundings()):
        await wait_until_async(lambda: len(around.seen) == 3, message="all have run")
        await wait_until_async(
            lambda: all(task_row(db, one)["status"] == "completed" for one in ids), message="all are completed"
        )
    assert [task_row(db, one)["result"] for one in ids] == [7, 8, 9]
    assert sorted(around.seen) == [("async", 8), ("plain", 7), ("transactional", 9)]


@pytest.mark.parametrize(
    ("task_type", "payload", "seen", "status", "error"),
    [
        ("echo", {"a": 1}, {"a": 1}, "completed", None),
        ("finish", {}, "completed", "completed", None),
        ("raise", {"how": "value"}, "ValueError: no luck", "dead", "ValueError: no luck"),
        (
            "die",
            {"how": "SIGKILL"},
            "the child process was killed by SIGKILL",
            "dead",
            "the child process was killed by SIGKILL",
        ),
        ("wait", {}, "", "dead", "timed out after 2 s"),
    ],
)
async def test_middleware_is_around_child_processes(
    dsn: str, db: Connection, tmp_path: Path, task_type: str, payload: Any, seen: Any, status: str, error: str | None
) -> None:
    around = Around()
    limits = {"timeout": "2 seconds"} if task_type == "wait" else {}
    if task_type == "wait":
        payload = {"folder": str(tmp_path)}
    task = insert_task(db, task_type, payload=Jsonb(payload), max_attempts=1, **limits)
    surroundings = Surroundings(middleware_of=lambda _: (around,))
    async with running_worker(dsn, process_app.registry, serve=SERVE, surroundings=surroundings) as worker:
        await wait_until_async(lambda: task_row(db, task)["status"] == status, message=f"it is {status}")
        await wait_until_async(lambda: worker.executor.running == 0, message="its slot is free")
    (one,) = around.seen
    if isinstance(seen, str):
        assert one[1].startswith(seen)
    else:
        assert one == (task_type, seen)
    (attempt,) = history(db, task)
    assert (attempt["error"] or "").startswith(error or "")


async def test_run_due_and_call_run_it(dsn: str, db: Connection) -> None:
    around = Around()
    app = app_with(around)
    app.use(dsn)
    insert_task(db, "plain")
    assert [one.result for one in await run_due_async(app)] == [7]
    assert around.seen == [("plain", 7)]


def test_call_runs_it_and_keeps_what_the_handler_raises() -> None:
    around = Around()
    app = app_with(around)

    @app.task("broken")
    def broken() -> None:
        raise ValueError("no stock")

    with pytest.raises(ValueError, match="no stock"):
        call(broken)
    assert around.seen == [("broken", "no stock")]


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_the_handler_within_gets_what_its_annotations_say(kind: str) -> None:
    app = App()
    app.middleware(Around())

    def plain(at: datetime) -> int:
        return at.year

    async def on_loop(at: datetime) -> int:
        return at.year

    handle = app.task("it")(plain if kind == "plain" else on_loop)
    assert call(handle, {"at": "2030-01-01T00:00:00Z"}).result == 2030
