"""What a handler's context says of its task, in every place where handlers run, and that others do not pay for it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched import App, Client, Context, Snooze
from pgsched.execution.middleware import CallNext
from pgsched.testing import call, call_async, run_due_async
from tests.support.engine import engine, handlers, history, rows
from tests.support.process_app import SERVE, about_of
from tests.support.process_app import app as process_app
from tests.support.tables import database, insert_task, move_tick, set_completed, set_dead, task_row

Connection = psycopg.Connection[dict[str, Any]]

FIELDS: dict[str, Any] = {
    "task_name": "to Ann",
    "tags": ["a", "b"],
    "metadata": Jsonb({"trace": {"id": 7}}),
    "tenant_id": "acme",
    "user_id": "ann",
    "created_by": "shop",
    "idempotency_key": "k",
}
SAID = ["to Ann", ["a", "b"], {"trace": {"id": 7}}, "acme", "ann", "shop", "k"]


async def on_loop(ctx: Context) -> list[Any]:
    return about_of(ctx)


def in_thread(ctx: Context) -> list[Any]:
    return about_of(ctx)


@pytest.mark.parametrize("handler", [on_loop, in_thread])
@pytest.mark.parametrize("way", ["leased", "limited"])
async def test_the_context_says_what_the_row_says(dsn: str, handler: Any, way: str) -> None:
    with database(dsn) as db:
        parent = insert_task(db, "other")
        if way == "limited":
            db.execute("select pgsched.limit_queue('default', concurrency => 3)")
        task_id = insert_task(db, "mail", parent_id=parent, **FIELDS)
        async with engine(dsn, handlers(mail=handler)) as one:
            await one.work()
        assert task_row(db, task_id)["result"] == [*SAID, parent, "schedule", None]


async def test_so_does_that_of_a_handler_in_a_child_process(dsn: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db, "say_about", **FIELDS)
        async with engine(dsn, process_app.registry, serve=SERVE) as one:
            await one.work()
        assert task_row(db, task_id)["result"] == [*SAID, None, "schedule", None]


async def test_so_does_that_of_middleware_and_of_a_catch_all(dsn: str, db: Connection) -> None:
    app, seen = App(dsn=dsn), []

    @app.middleware
    async def around(ctx: Context, call_next: CallNext) -> Any:
        seen.append((ctx.task_type, ctx.name))
        return await call_next(ctx)

    @app.task("plain")
    async def plain() -> None: ...

    @app.task("*")
    async def rest(ctx: Context, **_payload: Any) -> Any:
        return ctx.user_id

    insert_task(db, "plain", task_name="one")
    caught = insert_task(db, "unknown", task_name="two", user_id="ann")
    await run_due_async(app)
    assert seen == [("plain", "one"), ("unknown", "two")]
    assert task_row(db, caught)["result"] == "ann"


async def test_a_row_that_says_nothing(dsn: str, db: Connection) -> None:
    task_id = insert_task(db, "mail")
    async with engine(dsn, handlers(mail=on_loop)) as one:
        await one.work()
    assert task_row(db, task_id)["result"] == [None, [], {}, None, None, None, None, None, "schedule", None]


async def test_only_the_rows_of_handlers_with_a_context_bring_it(dsn: str, db: Connection) -> None:
    """Nobody else pays: the claim of a type without one brings null."""

    async def plain() -> None: ...

    ids = {insert_task(db, task_type, metadata=Jsonb({"a": 1})): task_type for task_type in ("plain", "mail")}
    async with engine(dsn, handlers(plain=plain, mail=on_loop)) as one:
        claimed = {ids[task.id]: task.about for task in await one.claim()}
        await one.run()
    assert claimed["plain"] is None
    assert claimed["mail"] is not None


async def test_metadata_is_a_copy(dsn: str, db: Connection) -> None:
    async def mail(ctx: Context) -> Any:
        ctx.metadata["trace"]["id"] = 8
        return ctx.metadata

    task_id = insert_task(db, "mail", **FIELDS)
    async with engine(dsn, handlers(mail=mail)) as one:
        await one.work()
    assert task_row(db, task_id)["result"] == {"trace": {"id": 7}}


# Why it runs.


async def trigger(ctx: Context) -> list[Any]:
    return [ctx.trigger, ctx.run_by, ctx.created_by]


async def test_a_tick_runs_by_schedule_and_a_copy_by_hand(dsn: str, db: Connection) -> None:
    tick = insert_task(db, "mail", cron_expression="@daily", created_by="code")
    with Client(dsn) as client:
        copies = [client.run_now(tick, run_by="ann"), client.run_now(tick)]
    move_tick(db, tick, "now()")
    async with engine(dsn, handlers(mail=trigger)) as one:
        await one.work()
    (role,) = rows(db, "select session_user::text as name")
    assert [task_row(db, task_id)["result"] for task_id in (tick, *copies)] == [
        ["schedule", None, "code"],
        ["manual", "ann", "ann"],
        ["manual", role["name"], role["name"]],
    ]


async def test_a_later_attempt_is_a_retry_also_of_a_copy(dsn: str, db: Connection) -> None:
    seen: list[Any] = []

    async def mail(ctx: Context) -> None:
        seen.append((ctx.trigger, ctx.run_by))
        if ctx.attempt == 1:
            raise RuntimeError("the first attempt fails")

    insert_task(db, "mail", backoff_delay="0")
    set_completed(db, over := insert_task(db, "mail", backoff_delay="0"))
    with Client(dsn) as client:
        client.run_now(over, run_by="ann")
    async with engine(dsn, handlers(mail=mail)) as one:
        await one.work()
        await one.work()
    assert sorted(seen, key=str) == [("manual", "ann"), ("retry", "ann"), ("retry", None), ("schedule", None)]


async def test_a_dead_task_that_is_given_its_attempts_again_is_retried(dsn: str, db: Connection) -> None:
    set_dead(db, task_id := insert_task(db, "mail"))
    with Client(dsn) as client:
        client.retry(task_id)
    async with engine(dsn, handlers(mail=trigger)) as one:
        await one.work()
    assert task_row(db, task_id)["result"] == ["retry", None, None]
    assert history(db, task_id)[-1]["attempt"] == 1


async def test_a_snoozed_attempt_makes_no_retry_of_the_next(dsn: str, db: Connection) -> None:
    seen: list[str] = []

    async def mail(ctx: Context) -> None:
        seen.append(ctx.trigger)
        if len(seen) == 1:
            raise Snooze(0)

    insert_task(db, "mail")
    async with engine(dsn, handlers(mail=mail)) as one:
        await one.work()
        await one.work()
    assert seen == ["schedule", "schedule"]


# Without a database.


def test_a_test_says_what_the_context_has() -> None:
    app = App()

    @app.task("mail")
    def mail(ctx: Context) -> list[Any]:
        return about_of(ctx)

    said = call(
        mail,
        name="to Ann",
        tags=["a", "b"],
        metadata={"trace": {"id": 7}},
        tenant_id="acme",
        user_id="ann",
        created_by="shop",
        key="k",
        parent_id=4,
    )
    assert said.result == [*SAID, 4, "schedule", None]


async def test_a_test_runs_a_copy_by_hand_and_a_retry() -> None:
    app = App()

    @app.task("mail")
    async def mail(ctx: Context) -> list[Any]:
        return [ctx.trigger, ctx.run_by, ctx.created_by]

    assert (await call_async(mail, run_by="ann")).result == ["manual", "ann", "ann"]
    assert (await call_async(mail, attempt=2)).result == ["retry", None, None]
