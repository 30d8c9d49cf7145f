"""Batch handlers: many payloads in one call, and each task a task as any other."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched import App, Client, Context, Discard, Item, Retry, Snooze
from pgsched.execution.middleware import CallNext
from pgsched.testing import call, run_due_async
from tests.support.engine import engine, history, running_worker
from tests.support.tables import insert_task, task_row
from tests.support.waiting import wait_until_async

Connection = psycopg.Connection[dict[str, Any]]
FIVE_MINUTES = "5 minutes"


@dataclass
class Document:
    """A payload."""

    number: int
    text: str = "-"


def insert_documents(db: Connection, count: int, **columns: Any) -> list[int]:
    return [insert_task(db, "index", payload=Jsonb({"number": number}), **columns) for number in range(count)]


def results(db: Connection, ids: list[int]) -> list[Any]:
    return [task_row(db, one)["result"] for one in ids]


def statuses(db: Connection, ids: list[int]) -> list[str]:
    return [task_row(db, one)["status"] for one in ids]


class Calls:
    """Batch handlers, plain and async, that note what they get."""

    def __init__(self, **options: Any) -> None:
        self.seen: list[list[int]] = []
        self.app = App()
        self.options = {"batch": 100, "wait": 1} | options

    def plain(self) -> Calls:
        @self.app.task("index", **self.options)
        def index(documents: list[Document]) -> list[int]:
            return self.note(documents)

        return self

    def on_loop(self) -> Calls:
        @self.app.task("index", **self.options)
        async def index(documents: list[Document]) -> list[int]:
            await asyncio.sleep(0)
            return self.note(documents)

        return self

    def note(self, documents: list[Document]) -> list[int]:
        self.seen.append(sorted(document.number for document in documents))
        return [document.number * 10 for document in documents]


@pytest.mark.parametrize("kind", ["plain", "on_loop"])
async def test_tasks_that_come_together_are_one_call_and_each_has_its_result(
    dsn: str, db: Connection, kind: str
) -> None:
    calls: Calls = getattr(Calls(batch=10), kind)()
    ids = insert_documents(db, 25)
    async with engine(dsn, calls.app.registry, concurrency=30) as one:
        await one.work()
    assert sorted(map(len, calls.seen)) == [5, 10, 10]
    assert statuses(db, ids) == ["completed"] * 25
    assert results(db, ids) == [number * 10 for number in range(25)]
    assert [history(db, one)[0]["status"] for one in ids] == ["completed"] * 25


async def test_a_call_does_not_wait_for_more_tasks_than_the_worker_has_slots(dsn: str, db: Connection) -> None:
    calls = Calls(batch=100, wait="60s").on_loop()
    ids = insert_documents(db, 9)
    async with engine(dsn, calls.app.registry, concurrency=3) as one:
        await one.work()
    assert list(map(len, calls.seen)) == [3, 3, 3]
    assert statuses(db, ids) == ["completed"] * 9


async def test_a_payload_that_does_not_fit_is_dead_and_not_in_the_call(dsn: str, db: Connection) -> None:
    calls = Calls(wait="20ms").plain()
    ids = insert_documents(db, 2)
    wrong = insert_task(db, "index", payload=Jsonb({"number": "many"}))
    strange = insert_task(db, "index", payload=Jsonb({"number": 1, "other": 1}))
    async with engine(dsn, calls.app.registry) as one:
        await one.work()
    assert calls.seen == [[0, 1]]
    assert statuses(db, [*ids, wrong, strange]) == ["completed", "completed", "dead", "dead"]
    assert "number must be a whole number" in task_row(db, wrong)["last_error"]


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_what_a_call_raises_fails_each_of_its_tasks(dsn: str, db: Connection, kind: str) -> None:
    app = App()

    def fail(documents: list[Document]) -> None:
        raise ValueError(f"no room for {len(documents)}")

    async def fail_async(documents: list[Document]) -> None:
        fail(documents)

    app.task("index", batch=3, wait="60s")(fail if kind == "plain" else fail_async)
    ids = insert_documents(db, 3)
    async with engine(dsn, app.registry) as one:
        await one.work()
    rows = [task_row(db, one) for one in ids]
    assert [(row["status"], row["attempts"]) for row in rows] == [("pending", 1)] * 3
    first_lines = {row["last_error"].partition("\n")[0] for row in rows}
    assert first_lines == {"ValueError: no room for 3"}
    # Each has the traceback of the call, and nothing of its neighbours.
    assert {row["last_error"].count("Traceback") for row in rows} == {1}
    assert len({row["last_error"] for row in rows}) == 1


async def test_single_tasks_of_a_call_may_fail(dsn: str, db: Connection) -> None:
    app = App()

    @app.task("index", batch=6, wait="60s")
    def index(items: list[Item[Document]]) -> list[int | Exception]:
        asked: dict[int, BaseException | str] = {1: Retry(60), 2: "no such page", 4: Snooze(60)}
        for item in items:
            if item.payload.number in asked:
                item.fail(asked[item.payload.number])
        return [Discard("too old") if item.payload.number == 3 else item.payload.number for item in items]

    ids = insert_documents(db, 6)
    async with engine(dsn, app.registry) as one:
        await one.work()
    assert statuses(db, ids) == ["completed", "pending", "pending", "dead", "pending", "completed"]
    assert results(db, ids) == [0, None, None, None, None, 5]
    assert [task_row(db, one)["attempts"] for one in ids] == [1, 1, 1, 1, 0, 1]
    errors = [(task_row(db, one)["last_error"] or "").partition("\n")[0] for one in ids]
    assert errors[2:4] == ["RuntimeError: no such page", "Discard: too old"]


@pytest.mark.parametrize(
    ("returned", "told"), [([1], "got 1"), ([1, 2, 3], "got 3"), ({"a": 1}, "got a dict"), (iter([1, 2]), "list_iter")]
)
async def test_another_number_of_outcomes_than_payloads_is_told(
    dsn: str, db: Connection, returned: Any, told: str
) -> None:
    app = App()
    app.task("index", batch=2, wait="60s")(lambda payloads: returned)
    ids = insert_documents(db, 2)
    async with engine(dsn, app.registry) as one:
        await one.work()
    for one_id in ids:
        row = task_row(db, one_id)
        assert row["status"] == "pending"
        rule = "batch handler 'index' must return None or a list with one outcome for each of its 2 payloads"
        assert rule in row["last_error"]
        assert told in row["last_error"]


async def test_an_item_that_times_out_leaves_its_call_which_goes_on_for_the_others(dsn: str, db: Connection) -> None:
    app = App()
    gone_on = asyncio.Event()

    @app.task("index", batch=2, wait="60s")
    async def index(items: list[Item[Document]]) -> None:
        while not any(item.context.cancelled for item in items):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        gone_on.set()

    hasty = insert_task(db, "index", payload=Jsonb({"number": 1}), timeout="20 milliseconds")
    patient = insert_task(db, "index", payload=Jsonb({"number": 2}), timeout=FIVE_MINUTES)
    async with engine(dsn, app.registry) as one:
        await one.work()
    assert gone_on.is_set()
    assert statuses(db, [hasty, patient]) == ["pending", "completed"]
    assert task_row(db, hasty)["last_error"] == "timed out after 0.02 s"


async def test_a_call_that_all_its_tasks_have_left_is_cancelled(dsn: str, db: Connection) -> None:
    app = App()
    cancelled = asyncio.Event()

    @app.task("index", batch=2, wait="60s")
    async def index(documents: list[Document]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    ids = insert_documents(db, 2, timeout="20 milliseconds")
    async with engine(dsn, app.registry) as one:
        await one.work()
        await wait_until_async(cancelled.is_set, message="the call is cancelled")
        await wait_until_async(lambda: one.worker.executor.running == 0, message="the slots are free")
    assert statuses(db, ids) == ["pending", "pending"]


async def test_a_plain_call_that_overstays_keeps_the_slots_of_its_tasks(dsn: str, db: Connection) -> None:
    app = App()
    go_on = threading.Event()

    @app.task("index", batch=2, wait="60s")
    def index(documents: list[Document]) -> None:
        go_on.wait(10)

    ids = insert_documents(db, 2, timeout="20 milliseconds")
    async with engine(dsn, app.registry, concurrency=2) as one:
        await one.work()
        assert statuses(db, ids) == ["pending", "pending"]
        assert one.worker.executor.free == 0
        go_on.set()
        await wait_until_async(lambda: one.worker.executor.free == 2, message="the slots are free")


async def test_a_task_that_is_cancelled_while_its_call_gathers_is_not_in_it(dsn: str, db: Connection) -> None:
    calls = Calls(batch=3, wait="60s").on_loop()
    ids = insert_documents(db, 2)
    async with running_worker(dsn, calls.app.registry, poll_interval=0.1) as worker:
        await wait_until_async(lambda: worker.executor.running == 2, message="two wait")
        with Client(dsn) as client:
            client.cancel(ids[0])
        await wait_until_async(lambda: worker.executor.running == 1, message="one has left")
        insert_task(db, "index", payload=Jsonb({"number": 7}))
        insert_task(db, "index", payload=Jsonb({"number": 8}))
        await wait_until_async(lambda: bool(calls.seen), message="the call is made")
    assert calls.seen == [[1, 7, 8]]
    assert statuses(db, ids) == ["cancelled", "completed"]


async def test_a_worker_that_stops_gives_back_what_gathers_too_long(dsn: str, db: Connection) -> None:
    calls = Calls(batch=3, wait="60s").on_loop()
    ids = insert_documents(db, 2)
    async with running_worker(dsn, calls.app.registry, shutdown_timeout=0.1) as worker:
        await wait_until_async(lambda: worker.executor.running == 2, message="two wait")
    assert calls.seen == []
    assert [(row["status"], row["attempts"]) for row in (task_row(db, one) for one in ids)] == [("pending", 0)] * 2


async def test_middleware_is_around_each_task(dsn: str, db: Connection) -> None:
    calls = Calls(batch=3, wait="60s").plain()
    around: list[tuple[int, int]] = []

    @calls.app.middleware
    async def note(ctx: Context, call_next: CallNext) -> Any:
        value = await call_next(ctx)
        around.append((ctx.id, value))
        return value

    ids = insert_documents(db, 3)
    async with running_worker(dsn, calls.app.registry, surroundings=calls.app.surroundings()):
        await wait_until_async(lambda: statuses(db, ids) == ["completed"] * 3, message="all are completed")
    assert sorted(around) == [(one, number * 10) for number, one in enumerate(ids)]
    assert calls.seen == [[0, 1, 2]]


async def test_what_items_log_is_in_the_history_of_their_tasks(dsn: str, db: Connection) -> None:
    app = App()

    @app.task("index", batch=2, wait="60s")
    async def index(items: list[Item[Document]]) -> None:
        for item in items:
            item.context.log(f"page {item.payload.number}")

    ids = insert_documents(db, 2)
    async with engine(dsn, app.registry) as one:
        await one.work()
    lines = db.execute("select task_id, message from pgsched.execution_logs order by task_id").fetchall()
    assert [(line["task_id"], line["message"]) for line in lines] == [(ids[0], "page 0"), (ids[1], "page 1")]


async def test_tests_run_batches(dsn: str, db: Connection) -> None:
    calls = Calls(wait="20ms").plain()
    app = App(dsn=dsn)
    app.include(calls.app)
    insert_documents(db, 3)
    ran = await run_due_async(app, concurrency=10)
    assert calls.seen == [[0, 1, 2]]
    assert sorted(one.result for one in ran) == [0, 10, 20]


async def test_tests_see_what_a_call_raised(dsn: str, db: Connection) -> None:
    app = App(dsn=dsn)

    @app.task("index", batch=2, wait="20ms")
    def index(documents: list[Document]) -> None:
        raise LookupError("nowhere")

    insert_documents(db, 2)
    ran = await run_due_async(app, concurrency=2, raises=False)
    assert [type(one.exception) for one in ran] == [LookupError, LookupError]


def test_one_payload_is_called_without_a_database() -> None:
    app = App()

    @app.task("index", batch=100, wait=0)
    async def index(items: list[Item[Document]]) -> list[str]:
        items[0].context.progress({"at": 1})
        return [item.payload.text for item in items]

    called = call(index, {"number": 1, "text": "a"})
    assert (called.result, called.progress) == ("a", [{"at": 1}])
