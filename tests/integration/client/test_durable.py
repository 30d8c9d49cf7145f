"""Durable tasks by the clients: events that are sent to them, what they have recorded, and restarts."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgsched import AsyncClient, Client, InvalidTask, TaskNotFound, TransitionRefused
from pgsched.db.session import Session
from pgsched.testing import drain
from pgsched.worker import registration
from tests.support.commands import pgsched
from tests.support.durable import dead_order, order_app, waiting_order
from tests.support.tables import set_completed

Database = psycopg.Connection[dict[str, Any]]


# Events.


def test_an_event_ends_the_wait_and_is_what_it_returns(client: Client, dsn: str) -> None:
    app, ran = order_app(dsn)
    task_id = waiting_order(client, app)
    event = client.emit(task_id, "approved", {"by": "ada"})
    assert [(one.id, one.name, one.payload, one.consumed_at) for one in client.durable_events(task_id)] == [
        (event, "approved", {"by": "ada"}, None)
    ]
    drain(app)
    assert client.wait(task_id, timeout=5) == {"charge": 7, "answer": {"by": "ada"}}
    assert ran == ["charge", "book a", "book b", "shipped"]
    assert client.durable_events(task_id)[0].consumed_at is not None


def test_one_that_comes_before_anybody_waits_is_kept(client: Client, dsn: str) -> None:
    app, _ = order_app(dsn)
    task_id = client.schedule("order", {"order_id": 7}, idempotency_key="order-7")
    client.emit(key="order-7", name="approved", payload=["early", None])
    drain(app)
    assert client.wait(task_id, timeout=5)["answer"] == ["early", None]


def test_of_several_of_one_name_the_oldest_is_taken(client: Client, dsn: str) -> None:
    app, _ = order_app(dsn)
    task_id = client.schedule("order", {"order_id": 7})
    first, second = client.emit(task_id, "approved", 1), client.emit(task_id, "approved", 2)
    client.emit(task_id, "declined")
    drain(app)
    assert client.wait(task_id, timeout=5)["answer"] == 1
    taken = {one.id: one.consumed_at is not None for one in client.durable_events(task_id)}
    assert list(taken.values()) == [True, False, False]
    assert list(taken)[:2] == [first, second]
    assert [one.id for one in client.durable_events(task_id, limit=1)] == [list(taken)[2]]


def test_a_second_one_of_the_same_key_is_not_stored(client: Client) -> None:
    task_id = client.schedule("order", {"order_id": 7})
    first = client.emit(task_id, "approved", 1, event_key="click")
    assert client.emit(task_id, "approved", 2, event_key="click") == first
    assert client.emit(task_id, "declined", 2, event_key="click") != first
    assert [(one.name, one.payload, one.key) for one in client.durable_events(task_id)] == [
        ("approved", 1, "click"),
        ("declined", 2, "click"),
    ]


def test_one_for_a_task_that_is_over_is_refused(client: Client, db: Database) -> None:
    done, stopped = client.schedule("order"), client.schedule("order")
    set_completed(db, done)
    client.cancel(stopped)
    with pytest.raises(TransitionRefused, match=f"^task {done} is completed: no wait of it can take event 'approved'$"):
        client.emit(done, "approved")
    with pytest.raises(TransitionRefused, match=f"^task {stopped} is cancelled: no wait of it can take event 'no'$"):
        client.emit(stopped, "no")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"id": 1}, "name must have 1 to 200 characters, got 0"),
        ({"id": 1, "name": "a" * 201}, "name must have 1 to 200 characters, got 201"),
        ({"id": 1, "name": "a", "event_key": ""}, "event_key must have 1 to 500 characters, got 0"),
        (
            {"id": 1, "name": "a", "payload": "x" * 1_100_000},
            "payload must not exceed 1 MiB as JSON, got 1,100,002 bytes",
        ),
        ({"id": 1, "name": "a", "payload": {1: 2}}, "payload must have keys that are strings, got 'payload[1]'"),
        ({"name": "a"}, "a task must be named by its id or by its key, got neither"),
        ({"id": 1, "key": "k", "name": "a"}, "a task must be named by its id or by its key, got both"),
    ],
)
def test_what_makes_no_sense_is_refused(client: Client, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidTask) as caught:
        client.emit(**given)
    assert str(caught.value) == problem


def test_a_task_that_is_not_there_is_told_of(client: Client) -> None:
    for ask in (client.emit, client.restart):
        with pytest.raises(TaskNotFound, match=r"^task 99 does not exist$"):
            ask(99, "approved")
        with pytest.raises(TaskNotFound, match=r"^a task with the key 'nobody' does not exist$"):
            ask(None, "approved", key="nobody")
    with pytest.raises(TaskNotFound):
        client.durable_steps(key="nobody")
    assert client.durable_steps(99) == client.durable_events(99) == []
    assert client.durable_run(99) is None


def test_it_is_part_of_the_clients_transaction(client: Client, dsn: str) -> None:
    app, _ = order_app(dsn)
    task_id = waiting_order(client, app)

    def emit_and_fail() -> None:
        with client.transaction() as inside:
            inside.emit(task_id, "approved")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        emit_and_fail()
    assert client.durable_events(task_id) == []
    assert client.get(task_id).status == "blocked"


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
def test_it_is_part_of_the_transaction_of_a_connection(client: Client, dsn: str, encoding: str) -> None:
    app, _ = order_app(dsn)
    task_id = waiting_order(client, app, idempotency_key="k")
    with psycopg.connect(dsn, client_encoding=encoding) as connection:
        client.emit(task_id, "approved", "undone", connection=connection)
        connection.rollback()
        client.emit(key="k", name="approved", payload="中", event_key="中", connection=connection)
        assert client.get(task_id).status == "blocked"
        connection.commit()
        assert client.get(task_id).status == "pending"
    drain(app)
    assert client.wait(task_id, timeout=5)["answer"] == "中"


# What it has recorded.


def test_the_steps_of_a_run_are_read_in_their_order(client: Client, dsn: str) -> None:
    app, _ = order_app(dsn)
    task_id = waiting_order(client, app)
    charge, a, b, wait = client.durable_steps(task_id)
    assert (charge.name, charge.kind, charge.status, charge.result) == ("charge", "step", "completed", {"charge": 7})
    assert [(one.name, one.key, one.title) for one in (a, b)] == [("book", "a", "book [a]"), ("book", "b", "book [b]")]
    assert (wait.title, wait.kind, wait.status, wait.seconds) == ("approved", "event", "waiting", None)
    assert charge.seconds is not None
    run = client.durable_run(task_id)
    assert run is not None
    assert (run.awaits, run.tick_number, run.began_at) == (["event:approved"], 1, charge.began_at)
    assert run.wakes_at == wait.wakes_at
    assert run.wakes_at is not None
    assert run.wakes_at - wait.started_at > timedelta(days=1, hours=23)
    assert charge.as_dict()["began_at"] == run.as_dict()["began_at"]


def test_those_of_a_run_that_is_over_stay(client: Client, dsn: str) -> None:
    app, _ = order_app(dsn)
    task_id = waiting_order(client, app)
    client.emit(task_id, "approved", "yes")
    drain(app)
    assert client.durable_run(task_id) is None
    assert [one.status for one in client.durable_steps(task_id)] == ["completed"] * 4
    assert client.durable_steps(task_id)[-1].result == "yes"


def test_steps_of_earlier_runs_are_read_on_request(client: Client, dsn: str) -> None:
    app, _ = order_app(dsn)
    task_id = waiting_order(client, app)
    client.restart(task_id)
    drain(app)
    latest = client.durable_steps(task_id)
    both = client.durable_steps(task_id, all_runs=True)
    assert (len(latest), len(both)) == (4, 8)
    assert both[:4] == latest
    assert both[4].began_at < both[0].began_at
    assert client.durable_steps(task_id, limit=2) == latest[:2]


# Restarts.


def test_a_restart_from_a_step_keeps_what_came_before(client: Client, dsn: str) -> None:
    app, ran = order_app(dsn)
    task_id = dead_order(client, app)
    assert ran == ["charge", "book a", "book b", "fail"]
    client.update(task_id, {"order_id": 7})
    client.restart(task_id, "book", from_key="b")
    assert client.get(task_id).status == "pending"
    assert [one.title for one in client.durable_steps(task_id)] == ["charge", "book [a]"]
    client.emit(task_id, "approved", 1)
    drain(app)
    assert ran[4:] == ["book b", "shipped"]
    assert client.wait(task_id, timeout=5) == {"charge": 7, "answer": 1}


def test_a_restart_of_the_whole_keeps_nothing(client: Client, dsn: str) -> None:
    app, ran = order_app(dsn)
    task_id = waiting_order(client, app, idempotency_key="k")
    client.restart(key="k")
    drain(app)
    assert ran == ["charge", "book a", "book b"] * 2
    assert client.get(task_id).status == "blocked"


def test_a_restart_that_cannot_be_is_refused(client: Client, dsn: str) -> None:
    app, _ = order_app(dsn)
    task_id = waiting_order(client, app)
    with pytest.raises(TaskNotFound, match=f"^task {task_id} has recorded no step 'book' with the key 'c'$"):
        client.restart(task_id, "book", from_key="c")
    with pytest.raises(TaskNotFound, match=f"^task {task_id} has recorded no step 'nothing'$"):
        client.restart(task_id, "nothing")
    with pytest.raises(InvalidTask, match=r"^from_step must have 1 to 200 characters, got 0$"):
        client.restart(task_id, "")
    client.emit(task_id, "approved")
    drain(app)
    with pytest.raises(TransitionRefused, match=f"^task {task_id} is completed and cannot be restarted$"):
        client.restart(task_id)
    other = client.schedule("order")
    with pytest.raises(TransitionRefused, match=f"^task {other} has recorded no step: there is nothing to restart$"):
        client.restart(other)


# The register.


def test_the_register_says_which_types_are_durable(client: Client, dsn: str, db: Database) -> None:
    app, _ = order_app(dsn)
    app.task("mail")(lambda: None)

    async def register() -> None:
        session = Session(dsn=dsn, name="test")
        await registration.register(session, app.registry)
        await session.close()

    asyncio.run(register())
    assert {one.task_type: one.durable for one in client.handlers()} == {"order": True, "mail": False}
    written = "select pgsched.register(%s::jsonb) as written"
    said = {"task_type": "order", "description": "By a program that does not know of it."}
    assert db.execute(written, (json.dumps([said]),)).fetchall() == [{"written": ["order"]}]
    assert [one.durable for one in client.handlers() if one.task_type == "order"] == [True]
    assert db.execute(written, (json.dumps([said]),)).fetchall() == [{"written": []}]
    assert db.execute(written, (json.dumps([said | {"durable": False}]),)).fetchall() == [{"written": ["order"]}]
    assert [one.durable for one in client.handlers() if one.task_type == "order"] == [False]
    assert "durable     no" in pgsched("handler", "show", "order", dsn=dsn).stdout


# For event loops.


async def test_the_client_for_event_loops_does_the_same(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        task_id = await client.schedule("order", {"order_id": 7}, idempotency_key="k")
        event = await client.emit(task_id, "approved", event_key="once")
        assert await client.emit(key="k", name="approved", event_key="once") == event
        assert [one.id for one in await client.durable_events(key="k")] == [event]
        assert await client.durable_steps(key="k") == []
        assert await client.durable_run(key="k") is None
        with pytest.raises(TransitionRefused):
            await client.restart(key="k")
