"""Durable handlers, in a real worker: what was recorded does not run again, and a run that waits holds nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from pgsched import (
    App,
    ChildFailed,
    Client,
    Context,
    DurableContext,
    DurableError,
    EventTimeout,
    PlainDurableContext,
    RegistrationError,
    StepFailed,
)
from pgsched.testing import Clock, Ran, freeze, run_due_async
from tests.support.tables import task_row
from tests.support.waiting import wait_until_async

Connection = psycopg.Connection[dict[str, Any]]
NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def app(dsn: str) -> Iterator[App]:
    made = App(dsn=dsn, capture_logs=None)
    yield made
    made.close()


@pytest.fixture
def clock(dsn: str) -> Iterator[Clock]:
    with freeze(dsn, NEW_YEAR) as made:
        yield made


def steps(db: Connection, task: int) -> list[tuple[Any, ...]]:
    found = db.execute(
        "select name, key, kind, status, attempts, result from pgsched.durable_steps where task_id = %s "
        "order by started_at",
        [task],
    ).fetchall()
    return [tuple(row.values()) for row in found]


def emit(db: Connection, task: int, name: str, payload: str | None = None, key: str | None = None) -> int:
    row = db.execute("select pgsched.emit(%s::bigint, %s, %s::jsonb, %s) as id", [task, name, payload, key]).fetchone()
    assert row is not None
    return int(row["id"])


async def run(app: App, **options: Any) -> list[Ran]:
    return await run_due_async(app, **options)


async def status(db: Connection, task: int, expected: str) -> dict[str, Any]:
    return await wait_until_async(
        lambda: row if (row := task_row(db, task))["status"] == expected else None, message=f"it is {expected}"
    )


# Steps.


async def test_a_step_runs_once_and_its_result_is_kept(app: App, db: Connection, client: Client) -> None:
    called: list[int] = []
    fails = [True]

    async def pay(amount: int) -> dict[str, int]:
        called.append(amount)
        return {"paid": amount}

    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> list[Any]:
        first = await ctx.step("pay", pay, 5)
        if fails.pop() if fails else False:
            raise RuntimeError("after the step")
        return [first, await ctx.step("pay more", pay, 6)]

    task = client.schedule("order", backoff_delay=0)
    await run(app, raises=False)
    assert task_row(db, task)["attempts"] == 1
    await run(app)
    assert called == [5, 6]
    assert task_row(db, task)["result"] == [{"paid": 5}, {"paid": 6}]
    assert steps(db, task) == [
        ("pay", "", "step", "completed", 1, {"paid": 5}),
        ("pay more", "", "step", "completed", 1, {"paid": 6}),
    ]
    assert db.execute("select * from pgsched.durable_runs").fetchall() == []


async def test_results_are_what_the_annotation_says_at_once_and_later(app: App, db: Connection, client: Client) -> None:
    seen: list[Any] = []

    async def when() -> datetime:
        return NEW_YEAR

    async def pair():  # type: ignore[no-untyped-def]
        return (1, {2})

    @app.task("typed", durable=True)
    async def typed(ctx: DurableContext) -> None:
        seen.append([await ctx.step("when", when), await ctx.step("pair", pair)])
        await ctx.sleep("a moment", 1)

    client.schedule("typed")
    await run(app)
    await wait_until_async(lambda: run_is_over(app, db), message="the sleep is over")
    assert len(seen) >= 2
    assert all(one == seen[0] for one in seen)
    assert seen[0][0] == NEW_YEAR


async def run_is_over(app: App, db: Connection) -> bool:
    await run(app)
    row = db.execute("select bool_and(status = 'completed') as over from pgsched.tasks").fetchone()
    return bool(row and row["over"])


async def test_a_step_that_fails_is_tried_again_by_itself(
    app: App, db: Connection, client: Client, clock: Clock
) -> None:
    tries: list[datetime] = []

    async def flaky() -> str:
        tries.append(clock.now())
        if len(tries) < 3:
            raise RuntimeError("not yet")
        return "done"

    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> str:
        return await ctx.step("flaky", flaky, backoff="fixed", backoff_delay="1h")

    task = client.schedule("order")
    await run(app, clock=clock)
    row = task_row(db, task)
    assert (row["status"], row["attempts"]) == ("pending", 0)
    assert steps(db, task) == [("flaky", "", "step", "failing", 1, None)]
    await run(app, clock=clock, until=NEW_YEAR + timedelta(days=1))
    assert task_row(db, task)["result"] == "done"
    assert len(tries) == 3
    assert task_row(db, task)["attempts"] == 1


async def test_a_step_that_failed_for_good_is_raised_again_and_run_again_by_a_retry(
    app: App, db: Connection, client: Client
) -> None:
    called: list[str] = []
    works = [False]

    async def book() -> str:
        called.append("book")
        if not works[0]:
            raise ValueError("no seat")
        return "seat 1"

    async def refund() -> None:
        called.append("refund")

    @app.task("trip", durable=True)
    async def trip(ctx: DurableContext) -> str:
        try:
            seat = await ctx.step("book", book, max_attempts=1)
        except StepFailed as error:
            await ctx.step("refund", refund)
            await ctx.wait_for("again")
            return f"{error.step}: {error.error}"
        return seat

    @app.task("simple", durable=True)
    async def simple(ctx: DurableContext) -> str:
        return await ctx.step("book", book, max_attempts=1)

    task, other = client.schedule("trip", max_attempts=1), client.schedule("simple", max_attempts=1)
    await run(app, raises=False)
    assert called == ["book", "refund", "book"]
    emit(db, task, "again")
    await run(app, raises=False)
    assert task_row(db, task)["result"] == "book: ValueError: no seat"
    assert called == ["book", "refund", "book"]  # caught: the failure is a part of the run
    assert task_row(db, other)["status"] == "dead"
    works[0] = True
    client.retry(other)
    await run(app)
    assert task_row(db, other)["result"] == "seat 1"


async def test_a_transactional_step_is_recorded_with_what_it_writes(app: App, db: Connection, client: Client) -> None:
    db.execute("create table booked (number integer)")
    tries: list[int] = []

    async def book(number: int, connection: psycopg.AsyncConnection[Any]) -> int:
        await connection.execute("insert into booked values (%s)", [number])
        tries.append(number)
        if len(tries) == 1:
            raise RuntimeError("rolled back")
        return number

    def note(ctx: DurableContext) -> None:
        ctx.connection.execute("insert into booked values (99)")

    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> int:
        number = await ctx.step("book", book, 7, transactional=True, backoff_delay=0)
        await ctx.step("note", note, ctx, transactional=True)
        return number

    task = client.schedule("order")
    await run(app)
    assert task_row(db, task)["result"] == 7
    assert db.execute("select number from booked order by 1").fetchall() == [{"number": 7}, {"number": 99}]
    assert tries == [7, 7]


async def test_two_steps_of_one_name_are_refused_and_keys_tell_them_apart(
    app: App, db: Connection, client: Client
) -> None:
    async def work(number: int) -> int:
        return number * number

    @app.task("twice", durable=True)
    async def twice(ctx: DurableContext) -> list[int]:
        return await asyncio.gather(*(ctx.step("work", work, number) for number in range(2)))

    @app.task("keyed", durable=True)
    async def keyed(ctx: DurableContext) -> list[int]:
        return await asyncio.gather(*(ctx.step("work", work, number, key=str(number)) for number in range(5)))

    bad, good = client.schedule("twice"), client.schedule("keyed")
    await run(app, raises=False)
    assert "asked for twice" in task_row(db, bad)["last_error"]
    assert task_row(db, good)["result"] == [0, 1, 4, 9, 16]


async def test_a_result_that_is_too_large_fails_the_step(app: App, db: Connection, client: Client) -> None:
    async def large() -> str:
        return "x" * (1024 * 1024 + 1)

    @app.task("large", durable=True)
    async def handler(ctx: DurableContext) -> None:
        await ctx.step("large", large, max_attempts=1)

    task = client.schedule("large", max_attempts=1)
    await run(app, raises=False)
    assert "result of a step must not exceed 1 MiB as JSON" in task_row(db, task)["last_error"]


# Sleeping and waiting.


async def test_three_days_pass_at_once_with_a_frozen_clock(
    app: App, db: Connection, client: Client, clock: Clock
) -> None:
    woken: list[datetime] = []

    @app.task("nap", durable=True)
    async def nap(ctx: DurableContext) -> str:
        await ctx.sleep("long", "3d")
        woken.append(clock.now())
        return "awake"

    task = client.schedule("nap")
    (first,) = await run(app, clock=clock)
    assert first.outcome == "suspended"
    row = task_row(db, task)
    assert (row["status"], row["attempts"], row["locked_by"]) == ("pending", 0, None)
    assert abs(row["next_run_at"] - NEW_YEAR - timedelta(days=3)) < timedelta(seconds=5)
    await run(app, clock=clock, until=NEW_YEAR + timedelta(days=4))
    assert task_row(db, task)["result"] == "awake"
    assert len(woken) == 1
    assert len(db.execute("select * from pgsched.executions").fetchall()) == 1


@pytest.mark.parametrize("when", ["before", "while it waits", "after the suspension"])
async def test_an_event_arrives_whenever_it_is_sent(app: App, db: Connection, client: Client, when: str) -> None:
    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> Any:
        return await ctx.wait_for("approved", timeout="1d")

    task = client.schedule("order")
    if when == "before":
        emit(db, task, "approved", '{"by": "ann"}')
    async with app.worker(concurrency=2):
        if when == "while it waits":
            await status(db, task, "running")
            emit(db, task, "approved", '{"by": "ann"}')
        elif when == "after the suspension":
            await status(db, task, "blocked")
            assert task_row(db, task)["locked_by"] is None
            emit(db, task, "approved", '{"by": "ann"}')
        row = await status(db, task, "completed")
    assert row["result"] == {"by": "ann"}
    assert row["attempts"] == 1


async def test_events_of_one_name_are_taken_in_their_order_and_each_once(
    app: App, db: Connection, client: Client
) -> None:
    @app.task("inbox", durable=True)
    async def inbox(ctx: DurableContext) -> list[Any]:
        return [await ctx.wait_for("letter", key=str(number)) for number in range(3)]

    task = client.schedule("inbox")
    first = emit(db, task, "letter", "1", "a")
    assert emit(db, task, "letter", "9", "a") == first
    emit(db, task, "letter", "2")
    await run(app)
    assert task_row(db, task)["status"] == "blocked"
    emit(db, task, "other", "0")
    assert task_row(db, task)["status"] == "blocked"
    emit(db, task, "letter", "3")
    assert task_row(db, task)["status"] == "pending"
    await run(app)
    assert task_row(db, task)["result"] == [1, 2, 3]
    left = db.execute("select name from pgsched.durable_events where consumed_at is null").fetchall()
    assert left == [{"name": "other"}]


async def test_a_wait_times_out_for_good(app: App, db: Connection, client: Client, clock: Clock) -> None:
    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> str:
        try:
            await ctx.wait_for("approved", timeout="2d")
        except EventTimeout:
            await ctx.sleep("later", "1d")
            return "too late"
        return "approved"

    task = client.schedule("order")
    await run(app, clock=clock)
    assert task_row(db, task)["status"] == "blocked"
    await run(app, clock=clock, until=NEW_YEAR + timedelta(days=2, hours=1))
    assert steps(db, task)[0][:4] == ("approved", "", "event", "failed")
    emit(db, task, "approved")
    await run(app, clock=clock, until=NEW_YEAR + timedelta(days=4))
    assert task_row(db, task)["result"] == "too late"


async def test_a_retry_waits_anew_where_a_timeout_ended_the_attempt(
    app: App, db: Connection, client: Client, clock: Clock
) -> None:
    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> Any:
        return await ctx.wait_for("approved", timeout="1h")

    task = client.schedule("order", max_attempts=1)
    await run(app, clock=clock, until=NEW_YEAR + timedelta(hours=2), raises=False)
    assert task_row(db, task)["status"] == "dead"
    client.retry(task)
    await run(app, clock=clock, raises=False)
    assert task_row(db, task)["status"] == "blocked"
    emit(db, task, "approved", "5")
    await run(app, clock=clock)
    assert task_row(db, task)["result"] == 5


async def test_an_event_of_a_transaction_that_is_rolled_back_wakes_nobody(
    app: App, db: Connection, client: Client
) -> None:
    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> None:
        await ctx.wait_for("approved")

    task = client.schedule("order")
    await run(app)
    db.execute("begin")
    emit(db, task, "approved")
    db.execute("rollback")
    assert task_row(db, task)["status"] == "blocked"


async def test_branches_wait_side_by_side_and_go_on_by_what_comes_first(
    app: App, db: Connection, client: Client, clock: Clock
) -> None:
    @app.task("race", durable=True)
    async def race(ctx: DurableContext) -> list[Any]:
        async def patient() -> Any:
            await ctx.sleep("patience", "1d")
            return "slept"

        return await asyncio.gather(patient(), ctx.wait_for("a"), ctx.wait_for("b", timeout="10d"))

    task = client.schedule("race")
    await run(app, clock=clock)
    assert task_row(db, task)["status"] == "blocked"
    row = db.execute("select awaits, wakes_at from pgsched.durable_runs").fetchone()
    assert row is not None
    assert sorted(row["awaits"]) == ["event:a", "event:b"]
    emit(db, task, "b", "2")
    await run(app, clock=clock)
    assert task_row(db, task)["status"] == "blocked"
    await run(app, clock=clock, until=NEW_YEAR + timedelta(days=2))
    assert task_row(db, task)["status"] == "blocked"
    emit(db, task, "a", "1")
    await run(app, clock=clock)
    assert task_row(db, task)["result"] == ["slept", 1, 2]


# Children.


async def test_a_parent_waits_for_its_child_and_holds_no_slot(app: App, db: Connection, client: Client) -> None:
    client.limit_queue("narrow", concurrency=1)

    @app.task("child", queue="narrow")
    async def child(number: int) -> int:
        return number * 2

    @app.task("parent", durable=True, queue="narrow")
    async def parent(ctx: DurableContext) -> int:
        return int(await ctx.run("child", {"number": 21}, queue="narrow"))

    task = client.schedule("parent", queue="narrow")
    async with app.worker(queues=["narrow"], concurrency=1):
        row = await status(db, task, "completed")
    assert row["result"] == 42
    made = db.execute("select parent_id, observed from pgsched.tasks where task_type = 'child'").fetchall()
    assert made == [{"parent_id": task, "observed": True}]


async def test_a_child_that_dies_raises_in_its_parent_and_a_retry_makes_another(
    app: App, db: Connection, client: Client
) -> None:
    works = [False]

    @app.task("child", max_attempts=1)
    async def child() -> str:
        if not works[0]:
            raise RuntimeError("no luck")
        return "luck"

    @app.task("parent", durable=True)
    async def parent(ctx: DurableContext) -> Any:
        return await ctx.run("child", max_attempts=1)

    task = client.schedule("parent", max_attempts=1)
    for _ in range(3):
        await run(app, raises=False)
    row = task_row(db, task)
    assert row["status"] == "dead"
    assert "no luck" in row["last_error"]
    assert ChildFailed.__name__ in row["last_error"]
    works[0] = True
    client.retry(task)
    for _ in range(3):
        await run(app, raises=False)
    assert task_row(db, task)["result"] == "luck"


@pytest.mark.parametrize("cascades", [True, False])
async def test_a_cancel_goes_to_the_child_unless_it_says_otherwise(
    app: App, db: Connection, client: Client, *, cascades: bool
) -> None:
    app.task("child")(lambda: None)

    @app.task("parent", durable=True)
    async def parent(ctx: DurableContext) -> Any:
        return await ctx.run("child", delay="1h", cancel_with_parent=cascades)

    task = client.schedule("parent")
    await run(app)
    client.cancel(task)
    row = db.execute("select status from pgsched.tasks where task_type = 'child'").fetchone()
    assert row == {"status": "cancelled" if cascades else "pending"}
    assert task_row(db, task)["status"] == "cancelled"


# Plain functions.


async def test_a_plain_function_has_the_same_without_await(app: App, db: Connection, client: Client) -> None:
    db.execute("create table booked (number integer)")
    called: list[int] = []

    def pay(amount: int) -> int:
        called.append(amount)
        return amount

    def book(number: int, connection: psycopg.Connection[Any]) -> None:
        connection.execute("insert into booked values (%s)", [number])

    app.task("child")(lambda: "born")

    @app.task("plain", durable=True)
    def plain(ctx: PlainDurableContext) -> list[Any]:
        paid = ctx.step("pay", pay, 3)
        ctx.step("book", book, 4, transactional=True)
        ctx.sleep("a moment", 1)
        return [paid, ctx.wait_for("go"), ctx.run("child"), isinstance(ctx.uuid(), UUID)]

    task = client.schedule("plain")
    emit(db, task, "go", '"now"')
    async with app.worker():
        row = await status(db, task, "completed")
    assert row["result"] == [3, "now", "born", True]
    assert called == [3]
    assert db.execute("select number from booked").fetchall() == [{"number": 4}]


# Values, versions, runs.


async def test_values_are_the_same_whenever_the_run_goes_on(app: App, db: Connection, client: Client) -> None:
    seen: list[tuple[Any, ...]] = []

    @app.task("values", durable=True)
    async def values(ctx: DurableContext) -> None:
        seen.append((ctx.now(), ctx.random(), ctx.uuid(), ctx.uuid(), ctx.uuid("mine")))
        await ctx.wait_for("go")

    task = client.schedule("values")
    await run(app)
    emit(db, task, "go")
    await run(app)
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 5


async def test_what_was_drawn_is_recorded_before_a_step_sees_it(app: App, db: Connection, client: Client) -> None:
    found: list[Any] = []

    async def look(drawn: str) -> None:
        found.append((drawn, db.execute("select result from pgsched.durable_steps where kind = 'value'").fetchall()))

    @app.task("values", durable=True)
    async def values(ctx: DurableContext) -> None:
        await ctx.step("look", look, str(ctx.uuid()))

    client.schedule("values")
    await run(app)
    ((drawn, recorded),) = found
    assert recorded == [{"result": drawn}]


async def test_new_code_takes_the_new_way_in_new_runs_only(app: App, db: Connection, client: Client) -> None:
    new = [False]

    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> str:
        await ctx.step("first", _nothing)
        way = "new" if new[0] and ctx.patched("better way") else "old"
        await ctx.step("second", _nothing)
        await ctx.wait_for("go")
        return way

    old = client.schedule("order")
    await run(app)
    new[0] = True
    later = client.schedule("order")
    await run(app)
    for task in (old, later):
        emit(db, task, "go")
    await run(app)
    assert task_row(db, old)["result"] == "old"
    assert task_row(db, later)["result"] == "new"


async def _nothing() -> None: ...


async def test_steps_that_the_code_no_longer_asks_for_are_noted(app: App, db: Connection, client: Client) -> None:
    names = ["first", "gone", "last"]

    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> None:
        for name in names:
            await ctx.step(name, _nothing)
        await ctx.wait_for("go")
        await ctx.wait_for("more")

    task = client.schedule("order")
    await run(app)
    names.remove("gone")
    emit(db, task, "go")
    await run(app)
    assert db.execute("select unasked from pgsched.durable_runs").fetchall() == [{"unasked": ["gone"]}]


async def test_restart_with_begins_another_run(app: App, db: Connection, client: Client) -> None:
    called: list[int] = []

    async def count(number: int) -> None:
        called.append(number)

    @app.task("loop", durable=True)
    async def loop(ctx: DurableContext, number: int = 0) -> int:
        await ctx.step("count", count, number)
        if number < 3:
            ctx.restart_with({"number": number + 1})
        return number

    task = client.schedule("loop")
    for _ in range(4):
        await run(app)
    row = task_row(db, task)
    assert (row["status"], row["result"], row["payload"]) == ("completed", 3, {"number": 3})
    assert called == [0, 1, 2, 3]
    begun = db.execute("select count(distinct began_at) as runs from pgsched.durable_steps").fetchone()
    assert begun == {"runs": 4}


async def test_each_tick_of_a_schedule_is_its_own_run(app: App, db: Connection, client: Client, clock: Clock) -> None:
    called: list[int] = []

    async def note(number: int) -> None:
        called.append(number)

    @app.task("daily", durable=True)
    async def daily(ctx: DurableContext) -> None:
        await ctx.step("note", note, ctx.tick_number)
        await ctx.sleep("a while", "2h")
        await ctx.step("note again", note, -ctx.tick_number)

    task = client.schedule("daily", every="1d", times=3)
    await run(app, clock=clock, until=NEW_YEAR + timedelta(days=4))
    assert called == [1, -1, 2, -2, 3, -3]
    assert task_row(db, task)["status"] == "completed"
    assert db.execute("select count(*) as n from pgsched.executions where status = 'completed'").fetchone() == {"n": 3}


async def test_a_run_that_outlasts_the_next_tick_keeps_its_own(
    app: App, db: Connection, client: Client, clock: Clock
) -> None:
    seen: list[datetime] = []

    @app.task("slow", durable=True)
    async def slow(ctx: DurableContext) -> None:
        seen.append(ctx.scheduled_for)
        await ctx.sleep("long", "60h")
        seen.append(ctx.scheduled_for)

    client.schedule("slow", every="1d", times=2)
    await run(app, clock=clock, until=NEW_YEAR + timedelta(days=4))
    assert seen[0] == seen[1] == seen[2]


async def test_the_dead_letter_of_a_tick_goes_on_with_what_it_has_recorded(
    app: App, db: Connection, client: Client, clock: Clock
) -> None:
    called: list[str] = []
    works = [False]

    async def first() -> None:
        called.append("first")

    async def second() -> None:
        if not works[0]:
            raise RuntimeError("broken")
        called.append("second")

    @app.task("daily", durable=True)
    async def daily(ctx: DurableContext) -> None:
        await ctx.step("first", first)
        await ctx.step("second", second, max_attempts=1)

    task = client.schedule("daily", every="1d", times=2, max_attempts=1)
    await run(app, clock=clock, raises=False)
    dead = db.execute("select id from pgsched.tasks where status = 'dead' and parent_id = %s", [task]).fetchone()
    assert dead is not None
    works[0] = True
    client.retry(dead["id"])
    await run(app, clock=clock)
    assert task_row(db, dead["id"])["status"] == "completed"
    assert called == ["first", "second"]


async def test_the_tick_of_a_schedule_restarts_with_the_payload_that_it_has(
    app: App, db: Connection, client: Client, clock: Clock
) -> None:
    times: list[int] = []

    @app.task("daily", durable=True)
    async def daily(ctx: DurableContext, number: int = 1) -> None:
        times.append(number)
        if len(times) == 1:
            ctx.restart_with()
        ctx.restart_with({"number": 2})

    task = client.schedule("daily", every="1d", times=2, max_attempts=1)
    for _ in range(2):
        await run(app, clock=clock, raises=False)
    assert times == [1, 1]
    dead = db.execute("select last_error from pgsched.tasks where parent_id = %s", [task]).fetchone()
    assert dead is not None
    assert "that of a schedule is the payload of all its ticks" in dead["last_error"]


async def test_a_failed_step_of_a_task_group_runs_again_after_a_retry(app: App, db: Connection, client: Client) -> None:
    works = [False]

    async def flaky() -> str:
        if not works[0]:
            raise RuntimeError("not yet")
        return "done"

    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> str:
        async with asyncio.TaskGroup() as together:
            one = together.create_task(ctx.step("flaky", flaky, max_attempts=1))
        return one.result()

    task = client.schedule("order", max_attempts=1)
    await run(app, raises=False)
    assert task_row(db, task)["status"] == "dead"
    works[0] = True
    client.retry(task)
    await run(app)
    assert task_row(db, task)["result"] == "done"


async def test_a_step_cannot_wait_itself(app: App, db: Connection, client: Client) -> None:
    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> None:
        async def inner() -> None:
            await ctx.sleep("inside", "1d")

        await ctx.step("outer", inner, max_attempts=1)

    task = client.schedule("order", max_attempts=1)
    await run(app, raises=False)
    assert "only the handler itself may, not the function of a step" in task_row(db, task)["last_error"]


async def test_more_events_than_are_loaded_at_once_arrive_in_their_order(
    app: App, db: Connection, client: Client
) -> None:
    @app.task("inbox", durable=True)
    async def inbox(ctx: DurableContext) -> int:
        taken = [await ctx.wait_for("letter", key=str(number)) for number in range(250)]
        assert taken == list(range(250))
        return await ctx.wait_for("other")

    task = client.schedule("inbox")
    db.execute(
        "select pgsched.emit(%s::bigint, 'letter', to_jsonb(n)) from generate_series(0, 249) n order by n", [task]
    )
    emit(db, task, "other", "7")
    await run(app)
    assert task_row(db, task)["result"] == 7


# By hand.


async def test_a_restart_from_a_step_keeps_what_came_before(app: App, db: Connection, client: Client) -> None:
    called: list[str] = []

    async def note(name: str) -> None:
        called.append(name)

    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> None:
        for name in ("a", "b", "c"):
            await ctx.step(name, note, name)
        await ctx.wait_for("go")

    task = client.schedule("order")
    await run(app)
    db.execute("select pgsched.restart(%s, 'b')", [task])
    await run(app)
    assert called == ["a", "b", "c", "b", "c"]
    db.execute("select pgsched.restart(%s)", [task])
    await run(app)
    assert called[5:] == ["a", "b", "c"]
    with pytest.raises(psycopg.errors.NoDataFound, match="has recorded no step 'z'"):
        db.execute("select pgsched.restart(%s, 'z')", [task])
    emit(db, task, "go")
    await run(app)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is completed and cannot be restarted"):
        db.execute("select pgsched.restart(%s)", [task])
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is completed"):
        emit(db, task, "go")


async def test_nothing_is_recorded_of_a_task_that_is_cancelled(app: App, db: Connection, client: Client) -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()
    ended: list[bool] = []

    async def long() -> str:
        began.set()
        await goes_on.wait()
        return "done"

    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> None:
        try:
            await ctx.step("long", long)
        finally:
            ended.append(ctx.suspending)

    task = client.schedule("order")
    async with app.worker():
        await began.wait()
        client.cancel(task)
        await wait_until_async(lambda: ended, message="the handler was cancelled")
        goes_on.set()
    assert ended == [False]
    assert steps(db, task) == []
    assert task_row(db, task)["status"] == "cancelled"


async def test_a_worker_that_stops_suspends_what_waits(app: App, db: Connection, client: Client) -> None:
    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> Any:
        return await ctx.wait_for("go", timeout="1d")

    task = client.schedule("order")
    async with app.worker():
        await status(db, task, "running")
    row = task_row(db, task)
    assert (row["status"], row["attempts"]) == ("blocked", 0)


async def test_finally_knows_that_the_run_is_suspended(app: App, db: Connection, client: Client) -> None:
    seen: list[bool] = []

    @app.task("order", durable=True)
    async def order(ctx: DurableContext) -> str:
        try:
            await ctx.wait_for("go")
        finally:
            seen.append(ctx.suspending)
        return "gone"

    task = client.schedule("order")
    await run(app)
    emit(db, task, "go")
    await run(app)
    assert seen == [True, False]
    assert task_row(db, task)["result"] == "gone"


# What is refused.


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda app: app.task("a", durable=True)(lambda: None), "takes no context"),
        (lambda app: app.task("a", durable=True, transactional=True)(_async), "durable excludes transactional"),
        (lambda app: app.task("a", durable=True, executor="process")(_async), 'durable excludes executor="process"'),
        (lambda app: app.task("a", durable=True)(_wrong), "its context is a PlainDurableContext"),
        (lambda app: app.task("a")(_async), "is not durable: add durable=True"),
    ],
)
def test_a_handler_that_cannot_be_durable_is_refused(app: App, make: Callable[[App], object], error: str) -> None:
    with pytest.raises(RegistrationError, match=error):
        make(app)


async def _async(ctx: DurableContext) -> None: ...


def _wrong(ctx: DurableContext) -> None: ...


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("select pgsched.emit(0, 'a')", "task 0 does not exist"),
        ("select pgsched.emit('no such key', 'a')", "a task with the key 'no such key' does not exist"),
        ("select pgsched.emit(%(task)s::bigint, '')", "event must have a name of 1 to 200 characters"),
        ("select pgsched.emit(%(task)s::bigint, 'a', key => '')", "the key of an event must have 1 to 500 characters"),
        (
            "select pgsched.emit(%(task)s::bigint, 'a', to_jsonb(repeat('x', 1048577)))",
            "must have at most 1 MiB, got 1048579 bytes",
        ),
    ],
)
def test_events_that_cannot_be_are_refused(db: Connection, client: Client, sql: str, error: str) -> None:
    task = client.schedule("order")
    with pytest.raises(psycopg.Error, match=error):
        db.execute(sql, {"task": task})
    assert db.execute("select * from pgsched.durable_events").fetchall() == []


def test_the_context_of_another_handler_is_no_durable_one(app: App) -> None:
    app.task("plain")(lambda ctx: None)

    async def handler(ctx: Context) -> None: ...

    app.task("durable", durable=True)(handler)
    assert DurableError.__mro__[1].__name__ == "PgschedError"
