"""Durable tasks from SQL: events that are sent, what is awaited, restarts, and who may and sees what."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from pgsched import Client
from pgsched.db.migrations.runner import migrate
from pgsched.domain.errors import PermissionRefused
from pgsched.flow import chain, step
from pgsched.testing import drain
from tests.support.durable import order_app, record_steps, waiting_order
from tests.support.roles import login
from tests.support.tables import database, insert_task, set_completed, task_row
from tests.support.waiting import wait_until

Database = psycopg.Connection[dict[str, Any]]


def call(db: Database, statement: str, *values: Any) -> Any:
    (row,) = db.execute(statement.encode(), values).fetchall()
    return next(iter(row.values()))


def events(db: Database) -> list[tuple[Any, ...]]:
    rows = db.execute("select id, name, payload, key from pgsched.durable_events order by id").fetchall()
    return [tuple(row.values()) for row in rows]


def problem(db: Database, statement: str, *values: Any) -> tuple[str | None, str | None]:
    with pytest.raises(psycopg.Error) as caught:
        db.execute(statement.encode(), values)
    return caught.value.sqlstate, caught.value.diag.message_primary


# Events.


def test_an_event_is_stored_by_id_and_by_key(db: Database) -> None:
    task_id = insert_task(db, "order", idempotency_key="order-7")
    first = call(db, "select pgsched.emit(%s, 'approved')", task_id)
    second = call(db, "select pgsched.emit('order-7', 'approved', '{\"by\": \"ada\"}', key => 'click')")
    assert call(db, "select pgsched.emit('order-7', 'approved', '2', key => 'click')") == second
    assert events(db) == [(first, "approved", None, None), (second, "approved", {"by": "ada"}, "click")]


def test_it_ends_the_wait_when_its_sender_commits(client: Client, db: Database, dsn: str) -> None:
    app, _ = order_app(dsn)
    task_id = waiting_order(client, app)
    with db.transaction():
        call(db, "select pgsched.emit(%s, 'approved', '\"yes\"')", task_id)
        assert client.get(task_id).status == "blocked"
    assert client.get(task_id).status == "pending"
    drain(app)
    assert call(db, "select pgsched.wait(%s)", task_id) == {"charge": 7, "answer": "yes"}


def test_another_event_does_not(client: Client, db: Database, dsn: str) -> None:
    app, _ = order_app(dsn)
    task_id = waiting_order(client, app)
    call(db, "select pgsched.emit(%s, 'declined')", task_id)
    assert client.get(task_id).status == "blocked"


def test_what_emit_refuses_is_told_in_one_line(db: Database) -> None:
    task_id, done = insert_task(db, "order"), insert_task(db, "order")
    set_completed(db, done)
    for given, state, said in (
        ((task_id, ""), "22023", "event must have a name of 1 to 200 characters, got ''"),
        ((task_id, None), "22023", "event must have a name of 1 to 200 characters, got null"),
        ((task_id, "a" * 201), "22023", f"event must have a name of 1 to 200 characters, got '{'a' * 100}'"),
        ((task_id, "a", None, ""), "22023", "the key of an event must have 1 to 500 characters, got ''"),
        ((99, "a"), "P0002", "task 99 does not exist"),
        (("nobody", "a"), "P0002", "a task with the key 'nobody' does not exist"),
        ((done, "a"), "55000", f"task {done} is completed: no wait of it can take event 'a'"),
        (
            (task_id, "a", '"' + "x" * 1_048_576 + '"'),
            "22023",
            "the payload of event 'a' must have at most 1 MiB, got 1048578 bytes",
        ),
    ):
        casts = ("bigint" if isinstance(given[0], int) else "text", "text", "jsonb", "text")
        arguments = ", ".join(f"%s::{cast}" for cast in casts[: len(given)])
        assert problem(db, f"select pgsched.emit({arguments})", *given) == (state, said)
    assert events(db) == []


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_of_two_senders_of_one_key_the_second_waits_for_the_first(db: Database, dsn: str, end: str) -> None:
    task_id = insert_task(db, "order")
    emit = "select pgsched.emit(%s, 'approved', to_jsonb(%s::text), key => 'click')"
    answers: list[int] = []
    with psycopg.connect(dsn) as first, database(dsn) as second:
        (sent,) = first.execute(emit, (task_id, "first")).fetchone() or ()
        thread = threading.Thread(target=lambda: answers.append(call(second, emit, task_id, "second")))
        thread.start()
        pid = second.info.backend_pid
        waits = "select cardinality(pg_blocking_pids(%s)) > 0 as so"
        wait_until(lambda: call(db, waits, pid), message="the second waits")
        getattr(first, end)()
        thread.join()
    assert [(one[0], one[2]) for one in events(db)] == [(answers[0], "first" if end == "commit" else "second")]
    assert (answers == [sent]) == (end == "commit")


def test_two_that_send_to_the_same_tasks_in_another_order_do_not_wait_in_a_circle(db: Database, dsn: str) -> None:
    ids = [insert_task(db, "order") for _ in range(2)]
    options = "-c deadlock_timeout=100ms"
    with ExitStack() as stack:
        holder, *senders = (stack.enter_context(psycopg.connect(dsn, options=options)) for _ in range(3))
        holder.execute("select from pgsched.tasks where id = %s for update", (ids[0],))
        for sender, order in zip(senders, (ids, ids[::-1]), strict=True):
            sender.execute("select")
            for task_id in order:
                with sender.transaction():  # a savepoint for each
                    sender.execute("select pgsched.emit(%s, 'approved')", (task_id,))
        threads = [threading.Thread(target=sender.commit) for sender in senders]
        waits = "select cardinality(pg_blocking_pids(%s)) > 0 as so"
        for sender, thread in zip(senders, threads, strict=True):
            thread.start()
            wait_until(
                functools.partial(call, db, waits, sender.info.backend_pid), message="it waits for the first task"
            )
        holder.rollback()
        for thread in threads:
            thread.join()
    assert len(events(db)) == 4


# What is awaited.


def test_status_says_what_is_awaited_and_until_when(client: Client, db: Database, dsn: str) -> None:
    app, _ = order_app(dsn)
    task_id = waiting_order(client, app)
    status = call(db, "select pgsched.status(%s)", task_id)
    (run,) = db.execute("select awaits, to_jsonb(wakes_at) as wakes_at from pgsched.visible_durable_runs").fetchall()
    assert {name: status[name] for name in run} == run
    assert status["awaits"] == ["event:approved"]
    call(db, "select pgsched.emit(%s, 'approved')", task_id)
    assert call(db, "select pgsched.status(%s) -> 'awaits'", task_id) is None


@pytest.mark.parametrize("role", [None, "pgsched_producer"])
def test_reading_one_run_does_not_read_the_others(db: Database, dsn: str, database_name: str, role: str | None) -> None:
    migrate(dsn, roles=True)
    db.execute("insert into pgsched.durable_runs select n, 1, now() from generate_series(1, 20000) n")
    db.execute("analyze pgsched.durable_runs")
    if role is not None:
        db.execute(f"set role {role}".encode())
    with Client(dsn) as client:
        task_id = client.schedule("order")
    plan = db.execute(
        f"explain select t.id, r.awaits from pgsched.known_tasks t"
        f" left join pgsched.visible_durable_runs r on r.task_id = {task_id} and t.status = 'blocked'"
        f" where t.id = {task_id} limit 1".encode()
    ).fetchall()
    assert "Seq Scan on durable_runs" not in str(plan)
    assert "durable_runs_pkey" in str(plan)


# Restarts.


def test_a_restart_cancels_the_children_that_are_waited_for(db: Database) -> None:
    task_id, kept, gone = (insert_task(db, "order") for _ in range(3))
    record_steps(db, task_id, "done", kind="child", child_id=kept)
    record_steps(db, task_id, "ship", kind="child", status="waiting", child_id=gone, cancels_child=True)
    db.execute("update pgsched.tasks set status = 'blocked', next_run_at = null where id = %s", (task_id,))
    db.execute("update pgsched.durable_runs set awaits = array['child:' || %s]", (gone,))
    db.execute("select pgsched.restart(%s, 'ship')", (task_id,))
    assert [task_row(db, one)["status"] for one in (task_id, kept, gone)] == ["pending", "pending", "cancelled"]
    assert [row["name"] for row in db.execute("select name from pgsched.durable_steps")] == ["done"]


def test_a_restarted_step_of_a_group_is_waited_for_again(client: Client, dsn: str) -> None:
    app, _ = order_app(dsn)
    group = client.schedule_group(
        chain(
            step("order", {"order_id": 7, "fails": True}, max_attempts=1), step("order", {"order_id": 8}, name="second")
        )
    )
    drain(app, raises=False)
    first, second = (one.id for one in client.tree(group).children)
    assert [client.get(one).status for one in (group, first, second)] == ["dead", "dead", "cancelled"]
    client.update(first, {"order_id": 7})
    client.restart(first, "charge")
    assert [client.get(one).status for one in (group, first, second)] == ["blocked", "pending", "blocked"]


# Who may, and who sees.


@pytest.fixture
def producers(dsn: str, database_name: str) -> Iterator[tuple[str, str]]:
    migrate(dsn, roles=True)
    with (
        login(dsn, f"one_{database_name}", member_of="pgsched_producer") as one,
        login(dsn, f"other_{database_name}", member_of="pgsched_producer") as other,
    ):
        yield one, other


def test_a_producer_sends_to_any_task_and_sees_its_own_alone(dsn: str, producers: tuple[str, str]) -> None:
    own, other = producers
    with Client(own) as owner, Client(other) as stranger, database(dsn) as db:
        task_id = owner.schedule("order", idempotency_key="k")
        record_steps(db, task_id, "charge")
        event = stranger.emit(task_id, "approved", "secret")
        assert [(one.id, one.sent_by) for one in owner.durable_events(task_id)] == [
            (event, str(psycopg.conninfo.conninfo_to_dict(other)["user"]))
        ]
        assert [one.name for one in owner.durable_steps(key="k")] == ["charge"]
        run = owner.durable_run(task_id)
        assert run is not None
        assert run.awaits == []
        assert stranger.durable_events(task_id) == stranger.durable_steps(task_id, all_runs=True) == []
        assert stranger.durable_run(task_id) is None
        stranger.restart(task_id, "charge")
        assert owner.durable_steps(task_id) == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(own) as connection:
            connection.execute("insert into pgsched.durable_events (task_id, tick_number, name) values (1, 1, 'a')")


def test_a_viewer_sees_all_and_sends_nothing(dsn: str, database_name: str) -> None:
    migrate(dsn, roles=True)
    with login(dsn, f"v_{database_name}", member_of="pgsched_viewer") as viewer, database(dsn) as db:
        task_id = insert_task(db, "order")
        record_steps(db, task_id, "charge")
        call(db, "select pgsched.emit(%s, 'approved')", task_id)
        with Client(viewer) as client:
            assert len(client.durable_steps(task_id)) == len(client.durable_events(task_id)) == 1
            for change in (lambda: client.emit(task_id, "a"), lambda: client.restart(task_id)):
                with pytest.raises(PermissionRefused):
                    change()
