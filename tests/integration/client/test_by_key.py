"""A task is named by its id or by its idempotency key; and what is said of a key that is known."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched import AsyncClient, Client, InvalidTask, TaskNotFound, TaskSpec
from pgsched.client.async_durable import AsyncDurableClient
from pgsched.db.migrations.runner import migrate
from tests.support.engine import engine, handlers, rows
from tests.support.roles import login
from tests.support.tables import database, insert_task, set_completed, set_dead, task_row

Database = psycopg.Connection[dict[str, Any]]
KEYS = ("invoice-7", "17", "a/b/cancel", "größe 5 % + ?#&", "it's", "😀", " ", "%2F", "a" * 500)
NOBODY_HAS = "a task with the key 'nobody' does not exist"


async def answer(**given: Any) -> dict[str, Any]:
    return {"answer": 42, **given}


# Named by its key.


@pytest.mark.parametrize("key", KEYS)
def test_any_key_finds_its_task(client: Client, db: Database, key: str) -> None:
    task_id = client.schedule("mail", idempotency_key=key)
    client.schedule("mail", idempotency_key="another")
    assert client.task_id(key) == client.get(key=key).id == task_id
    assert rows(db, "select pgsched.task_id(%s) as id", key) == [{"id": task_id}]


def test_each_method_of_one_task_takes_the_key(client: Client, db: Database) -> None:
    task_id = client.schedule("mail", idempotency_key="k", delay="1h")
    client.update(key="k", priority=9, payload={"n": 1})
    assert client.status(key="k").task.priority == 9
    assert (client.tree(key="k").id, client.get(key="k").payload) == (task_id, {"n": 1})
    assert client.disable(key="k") is True
    assert client.enable(key="k", catch_up=False) is True
    client.cancel(key="k")
    client.retry(key="k")
    assert client.run_now(key="k") == task_id
    assert client.executions(key="k", limit=5) == client.missed_ticks(key="k") == client.logs(key="k") == []
    set_completed(db, task_id)
    assert client.wait(key="k", timeout=5) is None
    client.delete(key="k")
    with pytest.raises(TaskNotFound):
        client.get(task_id)


def test_so_do_the_methods_of_a_schedule(client: Client) -> None:
    task_id = client.schedule("mail", idempotency_key="k", every="1h", start=datetime(2026, 1, 1, tzinfo=UTC))
    assert client.skip_next(key="k").next_tick is not None
    assert client.replan(key="k") == client.get(task_id).next_run_at
    since = datetime(2026, 2, 1, tzinfo=UTC)
    ticks = client.backfill(None, since, since + timedelta(hours=2), key="k", dry_run=True)
    assert len(ticks) == 3


async def test_so_do_those_for_event_loops(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        task_id = await client.schedule("mail", idempotency_key="k")
        assert (await client.get(key="k")).id == await client.task_id("k") == task_id
        await client.cancel(key="k")
        assert (await client.status(key="k")).task.status == "cancelled"


def test_no_method_of_one_task_is_left_out() -> None:
    for name, method in inspect.getmembers(AsyncDurableClient, inspect.isfunction):
        if not name.startswith("_") and name != "task_id":
            assert "key" in inspect.signature(method).parameters, name


@pytest.mark.parametrize("ask", ["get", "status", "tree", "wait", "run_now", "enable", "cancel", "retry", "delete"])
def test_unknown_key_is_named_in_one_line(client: Client, ask: str) -> None:
    with pytest.raises(TaskNotFound, match=f"^{NOBODY_HAS}$"):
        getattr(client, ask)(key="nobody")


def test_sql_says_the_same_as_of_an_unknown_id(db: Database) -> None:
    with pytest.raises(psycopg.errors.NoDataFound, match=NOBODY_HAS):
        rows(db, "select pgsched.cancel(pgsched.task_id('nobody'))")
    with pytest.raises(psycopg.errors.NoDataFound):
        rows(db, "select pgsched.task_id(null)")


def test_one_name_is_needed_and_no_more(client: Client) -> None:
    for given, said in (({}, "neither"), ({"id": 1, "key": "k"}, "both")):
        with pytest.raises(InvalidTask, match=f"^a task must be named by its id or by its key, got {said}$"):
            client.get(**given)  # type: ignore[arg-type]
    with pytest.raises(InvalidTask, match="key must have 1 to 500 characters"):
        client.get(key="")


def test_sql_functions_take_what_has_the_key(client: Client, db: Database) -> None:
    task_id = client.schedule("mail", idempotency_key="invoice-7")
    rows(db, "select pgsched.cancel(pgsched.task_id('invoice-7'))")
    assert task_row(db, task_id)["status"] == "cancelled"


# Tasks that have left.


async def test_a_task_that_left_is_found_by_its_key(dsn: str) -> None:
    with database(dsn) as db, Client(dsn) as client:
        db.execute("insert into pgsched.queues (name, retention) values ('default', '0')")
        first = client.schedule("mail", {"n": 1}, idempotency_key="k")
        async with engine(dsn, handlers(mail=answer)) as one:
            await one.work()
            assert rows(db, "select from pgsched.tasks") == []
            assert (client.get(key="k").id, client.get(key="k").status) == (first, "completed")
            assert client.wait(key="k", timeout=5) == {"answer": 42, "n": 1}
            assert len(client.executions(key="k")) == 1
            second = client.schedule("mail", {"n": 2}, idempotency_key="k")
            assert client.get(key="k").status == "pending"  # what is there comes before what was
            await one.work()
        assert client.get(key="k").id == second  # the last one that left with it


def test_the_history_is_not_searched_row_by_row(db: Database) -> None:
    db.execute("set enable_seqscan = off")
    plan = rows(db, "explain (costs off) select max(id) from pgsched.departed_keys where idempotency_key = 'k'")
    said = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "Seq Scan on executions" not in said, said
    assert "Index Cond: ((task ->> 'idempotency_key'::text) = 'k'::text)" in said, said


# Whose it is.


def test_a_producer_finds_its_own_keys_and_no_others(dsn: str, database_name: str) -> None:
    with database(dsn) as db:
        migrate(dsn, roles=True)
        strange = insert_task(db, idempotency_key="strange", priority=3)
        with (
            login(dsn, f"one_{database_name}", member_of="pgsched_producer") as mine,
            Client(mine) as client,
        ):
            own = client.schedule("mail", {"n": 1}, idempotency_key="own")
            assert client.get(key="own").id == own
            with database(mine) as session:
                rows(session, "select pgsched.cancel(pgsched.task_id('own'))")
            for ask in (client.get, client.cancel, client.run_now):
                with pytest.raises(TaskNotFound, match="a task with the key 'strange' does not exist"):
                    ask(key="strange")
            # As before, the id is told; but not what the task is.
            again = client.schedule("mail", {"guess": 1}, idempotency_key="strange", priority=4)
            assert (again, again.outcome, again.differs) == (strange, "existing", ())
            db.execute(
                "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status, started_at,"
                " finished_at, task) values (998, 'mail', 'default', 1, 1, 'completed', now(), now(),"
                ' \'{"idempotency_key": "left", "inserted_by": "somebody"}\')'
            )
            with pytest.raises(TaskNotFound):
                client.task_id("left")
            with Client(dsn) as owner:
                assert owner.task_id("left") == 998


# A key that is known is said.


def test_what_is_new_is_created_with_a_key_or_without(client: Client) -> None:
    assert client.schedule("mail").outcome == client.schedule("mail", idempotency_key="k").outcome == "created"


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        ({}, ()),
        ({"payload": {"b": [1.0, None], "a": 1}, "priority": 7, "timeout": 60}, ()),
        ({"payload": {"a": 1, "b": [1, 2]}, "priority": 6}, ("payload", "priority")),
        ({"queue": "other", "name": "x", "tags": ["b"]}, ("name", "queue", "tags")),
        ({"at": datetime(2031, 1, 1, tzinfo=UTC)}, ("at",)),
        ({"at": datetime(2030, 1, 1, tzinfo=UTC)}, ()),
        ({"delay": "1h"}, ()),
        ({"cron": "0 8 * * *"}, ("cron",)),
        ({"metadata": {"source": "test", "traceparent": "00-b"}}, ()),
        ({"metadata": {"source": "shop"}}, ("metadata",)),
    ],
)
def test_an_existing_task_says_what_it_has_otherwise(
    client: Client, options: dict[str, Any], differs: tuple[str, ...]
) -> None:
    made = client.schedule(
        "mail",
        {"a": 1, "b": [1, None]},
        idempotency_key="k",
        priority=7,
        timeout="1m",
        at=datetime(2030, 1, 1, tzinfo=UTC),
        metadata={"source": "test", "traceparent": "00-a"},
    )
    before = client.get(made)
    again = client.schedule("mail", options.pop("payload", None), idempotency_key="k", **options)
    assert (again, again.outcome, again.differs) == (made, "existing", differs)
    assert client.get(made) == before


def test_another_type_and_another_kind_of_schedule_are_said(client: Client) -> None:
    client.schedule("mail", idempotency_key="k", every="1h")
    assert client.schedule("post", idempotency_key="k").differs == ("every", "task_type")
    client.schedule("mail", idempotency_key="c", cron="0 8 * * *")
    assert client.schedule("mail", idempotency_key="c", every="1h").differs == ("every",)


def test_a_task_that_is_dead_is_existing(client: Client, db: Database) -> None:
    made = client.schedule("mail", idempotency_key="k")
    set_dead(db, made)
    assert client.schedule("mail", idempotency_key="k", on_conflict="keep").outcome == "existing"


def test_a_caller_s_connection_says_it_too(dsn: str, client: Client) -> None:
    with psycopg.connect(dsn) as connection:
        made = client.schedule("mail", {"n": 1}, idempotency_key="k", connection=connection)
        again = client.schedule("mail", {"n": 2}, idempotency_key="k", connection=connection)
    assert (made.outcome, again.outcome, again.differs) == ("created", "existing", ("payload",))


def test_many_at_once_are_not_compared(client: Client) -> None:
    ids = client.schedule_many([TaskSpec(task_type="mail", idempotency_key="k")] * 2)
    assert ids[0] == ids[1]
