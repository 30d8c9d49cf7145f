"""Functions of the application that are called when something happens to a task."""

from __future__ import annotations

import _thread
import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from pgsched import Event
from pgsched.app.app import App
from pgsched.domain.errors import RegistrationError
from pgsched.execution.context import Context
from pgsched.worker import hook_dispatcher
from tests.support.engine import engine, handlers, running_worker, steal_leases
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until_async

Seen = list[tuple[str, int]]


def collecting(app: App, seen: list[Event], *events: str) -> None:
    for event in events or ("started", "completed", "failed", "dead"):
        app.on(event)(seen.append)


async def ran(dsn: str, app: App, wanted: Callable[[], bool]) -> None:
    """Run a worker of the app until that is so."""
    async with running_worker(dsn, app.registry, hooks=app.hooks, capture_logs="off"):
        await wait_until_async(wanted, message="the hooks were called")


async def test_events_of_a_task_come_in_their_order(dsn: str) -> None:
    app, seen = App(), list[Event]()
    collecting(app, seen)

    @app.task("mail")
    async def mail(ctx: Context) -> dict[str, int]:
        if ctx.attempt == 1:
            raise ValueError("no luck")
        return {"sent": 1}

    with database(dsn) as db:
        task_id = insert_task(db, backoff="fixed", backoff_delay="1 millisecond")
        await ran(dsn, app, lambda: len(seen) == 4)
        row = task_row(db, task_id)
    assert [(one.event, one.id, one.attempt) for one in seen] == [
        ("started", task_id, 1),
        ("failed", task_id, 1),
        ("started", task_id, 2),
        ("completed", task_id, 2),
    ]
    failed, completed = seen[1], seen[3]
    assert (failed.task_type, failed.queue, failed.result) == ("mail", "default", None)
    assert str(failed.error).startswith("ValueError: no luck\n")
    assert (completed.error, completed.result) == (None, {"sent": 1})
    assert completed.duration is not None
    assert 0 <= completed.duration < 10
    assert seen[0].duration is None
    assert abs((completed.at - row["completed_at"]).total_seconds()) < 10


async def test_a_hook_sees_what_was_written(dsn: str) -> None:
    app, seen = App(), list[Any]()

    @app.task("mail", max_attempts=1)
    def mail() -> None:
        raise ValueError("no luck")

    with database(dsn) as db:
        task_id = insert_task(db, max_attempts=1)
        app.on("dead")(lambda event: seen.append((event.event, task_row(db, event.id)["status"])))
        app.on("failed")(seen.append)
        await ran(dsn, app, lambda: bool(seen))
        assert task_row(db, task_id)["status"] == "dead"
    assert seen == [("dead", "dead")]


async def test_hooks_may_be_async_or_plain_and_several(dsn: str) -> None:
    app, seen = App(), list[Any]()

    @app.task("mail")
    async def mail() -> None: ...

    @app.on("completed")
    async def first(event: Event) -> None:
        await asyncio.sleep(0)
        seen.append("async")

    @app.on("completed")
    def second(event: Event) -> None:
        seen.append(threading.current_thread() is threading.main_thread())

    with database(dsn) as db:
        insert_task(db)
        await ran(dsn, app, lambda: len(seen) == 2)
    assert seen == ["async", False]


async def test_an_error_in_a_hook_is_logged_and_harms_nobody(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    app, seen = App(), list[Event]()

    @app.task("mail")
    async def mail() -> None: ...

    @app.on("completed")
    def broken(event: Event) -> None:
        raise ValueError("in the hook")

    @app.on("completed")
    async def exiting(event: Event) -> None:
        raise SystemExit("in the other")

    collecting(app, seen, "completed")
    with database(dsn) as db:
        ids = [insert_task(db), insert_task(db)]
        await ran(dsn, app, lambda: len(seen) == 2)
        assert [task_row(db, task_id)["status"] for task_id in ids] == ["completed"] * 2
    told = capsys.readouterr()
    assert (told.out + told.err).count("hook_failed") == 4
    assert "ValueError: in the hook" in told.out + told.err


async def test_slow_hooks_hold_up_nobody_and_what_does_not_fit_is_dropped(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hook_dispatcher, "MAX_WAITING", 5)
    app, go, called = App(), threading.Event(), list[int]()

    @app.task("mail")
    async def mail() -> None: ...

    @app.on("completed")
    def slow(event: Event) -> None:
        called.append(event.id)
        go.wait(20)

    with database(dsn) as db:
        for _ in range(50):
            insert_task(db)
        async with running_worker(dsn, app.registry, hooks=app.hooks) as worker:
            await wait_until_async(
                lambda: not db.execute("select from pgsched.tasks where status <> 'completed'").fetchall(),
                message="every task is completed",
            )
            assert len(called) == 1, "the first call has not ended"
            assert worker.hook_dispatcher is not None
            dropped = worker.hook_dispatcher.dropped
            go.set()
    assert len(called) + dropped == 50
    assert dropped >= 40
    told = capsys.readouterr()
    assert "hook_events_dropped" in told.out + told.err


async def test_a_hook_that_never_ends_does_not_keep_the_worker_from_stopping(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgsched.worker.shutdown.HOOK_SECONDS", 0.05)
    app, began, go = App(), threading.Event(), threading.Event()

    @app.task("mail")
    async def mail() -> None: ...

    @app.on("completed")
    def endless(event: Event) -> None:
        began.set()
        go.wait(60)

    with database(dsn) as db:
        insert_task(db)
        await ran(dsn, app, began.is_set)
    go.set()


async def test_a_fenced_outcome_is_no_event(dsn: str) -> None:
    app, seen = App(), list[Event]()
    collecting(app, seen, "completed")

    @app.task("mail")
    async def mail(number: int) -> None: ...

    with database(dsn) as db:
        insert_task(db, payload='{"number": 1}')
        async with engine(dsn, app.registry, hooks=app.hooks) as one:
            assert one.worker.hook_dispatcher is not None
            one.worker.hook_dispatcher.start()
            await one.claim()
            steal_leases(db)
            second = insert_task(db, payload='{"number": 2}')
            await one.claim()
            one.worker.executor.feed()
            await one.finished(2)
            await one.completer.run_once()
            await one.worker.hook_dispatcher.stop(5)
    assert [event.id for event in seen] == [second]


async def test_without_hooks_nothing_is_made(dsn: str) -> None:
    async with engine(dsn, handlers(mail=lambda: None), hooks=App().hooks) as one:
        assert one.worker.hook_dispatcher is None


@pytest.mark.parametrize("event", ["finished", "", "Started", None])
def test_an_unknown_event_is_refused(event: Any) -> None:
    with pytest.raises(RegistrationError, match="event must be started, completed, failed or dead, got"):
        App().on(event)(print)


class Odd:
    """A hook of which nothing can be asked."""

    def __repr__(self) -> str:
        raise RuntimeError("of the repr")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")

    def __call__(self, event: Event) -> None:
        raise KeyboardInterrupt


@pytest.mark.slow
async def test_no_hook_stops_the_worker_or_the_hooks_after_it(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app, seen, found = App(), list[Event](), list[Any]()

    @app.task("mail")
    async def mail() -> dict[str, list[int]]:
        return {"sent": []}

    def changes(event: Event) -> None:
        event.result["sent"].append(event.result)

    def leaves_the_thread(event: Event) -> None:
        _thread.exit()

    async def looks_for_the_worker_s_tasks(event: Event) -> None:
        found.extend(task for task in asyncio.all_tasks() if task.get_name().startswith("pgsched"))

    async def cancels_itself(event: Event) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def adds_one(event: Event) -> None:
        app.on("failed")(print)

    event_of, made = hook_dispatcher.event_of, list[int]()

    def broken_at_first(*arguments: Any, **options: Any) -> Event | None:
        made.append(1)
        if len(made) == 1:
            raise RuntimeError("no event can be made of it")
        return event_of(*arguments, **options)

    monkeypatch.setattr(hook_dispatcher, "event_of", broken_at_first)
    for hook in (changes, leaves_the_thread, Odd(), looks_for_the_worker_s_tasks, adds_one, cancels_itself):
        app.on("completed")(hook)
    collecting(app, seen, "completed")
    with database(dsn) as db:
        ids = [insert_task(db) for _ in range(3)]
        async with running_worker(dsn, app.registry, hooks=app.hooks, capture_logs="off"):
            await wait_until_async(lambda: len(seen) == 2, message="the hooks were called")
            later = insert_task(db)
            await wait_until_async(lambda: len(seen) == 3, message="they are called again")
        assert [task_row(db, task_id)["status"] for task_id in (*ids, later)] == ["completed"] * 4
    assert found == []


async def test_a_hook_that_never_returns_holds_up_neither_tasks_nor_the_end(dsn: str) -> None:
    app, begun = App(), list[int]()

    @app.task("mail")
    async def mail() -> None: ...

    @app.on("completed")
    async def endless(event: Event) -> None:
        begun.append(event.id)
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    with database(dsn) as db, pytest.MonkeyPatch.context() as quick:
        quick.setattr("pgsched.worker.shutdown.HOOK_SECONDS", 0.05)
        ids = [insert_task(db) for _ in range(5)]
        async with running_worker(dsn, app.registry, hooks=app.hooks, capture_logs="off"):
            await wait_until_async(
                lambda: begun and all(task_row(db, task_id)["status"] == "completed" for task_id in ids),
                message="all tasks are done",
            )
