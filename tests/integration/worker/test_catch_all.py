"""A catch-all handler: it takes what no other live worker of the queue has a handler for."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from pgsched import App, Client, Context, RegistrationError, Router
from pgsched.testing import call, run_due_async
from tests.support.engine import running_worker
from tests.support.tables import insert_task, task_row
from tests.support.waiting import wait_until_async

Connection = psycopg.Connection[dict[str, Any]]


def catching(**handlers: Any) -> App:
    """An app with a catch-all, and other handlers."""
    app = App()

    @app.task("*")
    async def rest(ctx: Context, **payload: Any) -> list[Any]:
        return ["caught", ctx.task_type, payload]

    for task_type, function in handlers.items():
        app.task(task_type)(function)
    return app


def worker_of(app: App, dsn: str, **settings: Any) -> Any:
    return running_worker(dsn, app.registry, hooks=app.hooks, capture_logs="off", **settings)


async def completed(db: Connection, *tasks: int) -> list[Any]:
    """Wait until they are, and return their results."""
    await wait_until_async(
        lambda: all(task_row(db, task)["status"] == "completed" for task in tasks), message="all are completed"
    )
    return [task_row(db, task)["result"] for task in tasks]


async def test_types_that_nobody_has_are_caught_and_those_of_the_app_are_not(dsn: str, db: Connection) -> None:
    app = catching(mail=lambda: "sent")
    ids = [insert_task(db, task_type) for task_type in ("mail", "odd", "even")]
    async with worker_of(app, dsn):
        assert await completed(db, *ids) == ["sent", ["caught", "odd", {}], ["caught", "even", {}]]
        late = insert_task(db, "later")
        assert await completed(db, late) == [["caught", "later", {}]]


async def test_a_type_of_a_limited_queue_is_caught(dsn: str, db: Connection) -> None:
    db.execute("""insert into pgsched.queues (name, limits) values ('default', '{"concurrency": 1}')""")
    ids = [insert_task(db, "odd") for _ in range(2)]
    async with worker_of(catching(), dsn):
        assert len(await completed(db, *ids)) == 2


async def test_what_another_live_worker_of_the_queue_has_is_left_to_it(dsn: str, db: Connection) -> None:
    other = App()

    @other.task("mail")
    async def mail() -> str:
        return "sent"

    async with worker_of(other, dsn) as theirs, worker_of(catching(), dsn) as ours:
        ids = [insert_task(db, "mail") for _ in range(20)] + [insert_task(db, "odd")]
        assert (await completed(db, *ids))[:20] == ["sent"] * 20
        assert ours.identity.also == ["odd"]
        assert theirs.identity.also == []


async def test_a_worker_that_comes_takes_its_types_over(dsn: str, db: Connection) -> None:
    other = App()
    other.task("mail")(lambda: "sent")
    async with worker_of(catching(), dsn) as ours:
        await completed(db, insert_task(db, "mail"))
        assert ours.identity.also == ["mail"]
        async with worker_of(other, dsn):
            await wait_until_async(lambda: ours.identity.also == [], message="it is left to the other one")
            assert await completed(db, insert_task(db, "mail")) == ["sent"]


async def test_one_of_another_queue_does_not_count(dsn: str, db: Connection) -> None:
    other = App()
    other.task("mail")(lambda: "sent")
    async with worker_of(other, dsn, queues=("elsewhere",)), worker_of(catching(), dsn):
        assert await completed(db, insert_task(db, "mail")) == [["caught", "mail", {}]]


async def test_several_catch_alls_share(dsn: str, db: Connection) -> None:
    both = asyncio.Event()

    def holding() -> App:
        app = App()

        @app.task("*")
        async def rest(ctx: Context) -> str:
            await both.wait()  # so that tasks are left for the other one to see
            return ctx.task_type

        return app

    async with worker_of(holding(), dsn, concurrency=1) as one, worker_of(holding(), dsn, concurrency=1) as two:
        ids = [insert_task(db, "odd") for _ in range(10)]
        await wait_until_async(lambda: one.identity.also == two.identity.also == ["odd"], message="both do")
        both.set()
        assert await completed(db, *ids) == ["odd"] * 10


async def test_pgsched_s_own_types_are_nobody_s_catch(dsn: str, db: Connection) -> None:
    own = insert_task(db, "pgsched.http")
    async with worker_of(catching(), dsn):
        await completed(db, insert_task(db, "odd"))
        assert task_row(db, own)["status"] == "pending"


async def test_they_are_not_told_as_types_without_a_handler(dsn: str, db: Connection, client: Client) -> None:
    insert_task(db, "odd")
    assert [one.task_type for one in client.stats().unhandled] == ["odd"]
    db.execute("update pgsched.tasks set next_run_at = now() + interval '1 hour'")
    async with worker_of(catching(), dsn, queues=("default",)) as worker:
        worker.claim_loop.pause(True)
        await wait_until_async(
            lambda: db.execute("select from pgsched.workers").fetchall() != [], message="it is in the table"
        )
        db.execute("update pgsched.tasks set next_run_at = now()")
        assert client.stats().unhandled == []


async def test_it_is_not_in_the_register(dsn: str, db: Connection) -> None:
    async with worker_of(catching(mail=lambda: None), dsn):
        await completed(db, insert_task(db, "odd"))
        registered = db.execute("select task_type from pgsched.handlers").fetchall()
    assert registered == [{"task_type": "mail"}]


async def test_a_worker_without_one_asks_nothing(dsn: str, db: Connection) -> None:
    other = App()
    other.task("mail")(lambda: None)
    odd = insert_task(db, "odd")
    async with worker_of(other, dsn) as worker:
        await completed(db, insert_task(db, "mail"))
        assert worker.identity.also == []
    assert task_row(db, odd)["status"] == "pending"


async def test_it_catches_in_tests_of_applications(dsn: str, db: Connection) -> None:
    app = catching()
    app.use(dsn)
    for task_type in ("odd", "even"):
        insert_task(db, task_type)
    assert sorted(one.result[1] for one in await run_due_async(app)) == ["even", "odd"]
    insert_task(db, "third")
    assert [one.result[1] for one in await run_due_async(app)] == ["third"]


# Registering.


def test_a_router_may_have_it_and_two_are_refused() -> None:
    app, router = App(), Router()
    router.task("*")(lambda **payload: None)
    app.include(router)
    handler = app.registry.get("odd")
    assert handler is not None
    assert handler.task_type == "*"
    assert app.registry.get("pgsched.group") is None
    with pytest.raises(RegistrationError, match=r"'\*' is registered already"):
        app.task("*")(lambda **payload: None)


def test_middleware_of_a_router_with_it_is_not_around_others() -> None:
    app, router = App(), Router()
    router.middleware(_around)
    router.task("*")(lambda **payload: None)
    app.include(router)
    app.task("mail")(lambda: None)
    assert app.surroundings().middleware_of("mail") == ()
    assert app.surroundings().middleware_of("*") == (_around,)


async def _around(ctx: Context, call_next: Any) -> Any:
    return await call_next(ctx)


@pytest.mark.parametrize(("options", "words"), [({"queue": "a"}, "queue"), ({"strict": True}, "strict")])
def test_it_has_no_options_of_tasks(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RegistrationError, match=f"it cannot say {words} of them"):
        App().task("*", **options)(lambda **payload: None)


def test_call_runs_it() -> None:
    app = App()
    rest = app.task("*")(lambda **payload: payload)
    assert call(rest, {"a": 1}).result == {"a": 1}
