"""Durable runs between two sessions: no wake-up is lost, and nobody waits in a circle."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from tests.support.waiting import wait_until

Connection = psycopg.Connection[Any]


def session(dsn: str) -> Connection:
    return psycopg.connect(dsn, options="-c deadlock_timeout=200ms")


def one(connection: Connection, sql: str, *given: object) -> Any:
    row = connection.execute(sql, given).fetchone()
    return None if row is None else row[0]


def family(connection: Connection, parent: int | None = None) -> tuple[int, int]:
    """A durable run, made for ``parent`` if there is one, and a child that it waits for."""
    if parent is None:
        parent = int(one(connection, "insert into pgsched.tasks (task_type) values ('parent') returning id"))
    child = one(
        connection, "insert into pgsched.tasks (task_type, parent_id) values ('child', %s) returning id", parent
    )
    connection.execute("update pgsched.tasks set observed = true where id = %s", [child])
    connection.execute(
        "insert into pgsched.durable_runs (task_id, tick_number, began_at) values (%s, 1, now())", [parent]
    )
    add_child_step(connection, parent, child)
    connection.commit()
    return parent, int(child)


def add_child_step(connection: Connection, parent: int, child: int) -> None:
    connection.execute(
        "insert into pgsched.durable_steps (task_id, began_at, tick_number, name, kind, status, child_id, "
        "cancels_child, started_at, fencing_token) "
        "select task_id, began_at, 1, 'child', 'child', 'waiting', %s, true, now(), 1 from pgsched.durable_runs "
        "where task_id = %s",
        [child, parent],
    )


def suspend(connection: Connection, parent: int, child: int) -> None:
    """As a worker does that has claimed the run."""
    connection.execute("update pgsched.tasks set status = 'blocked', next_run_at = null where id = %s", [parent])
    connection.execute(
        "update pgsched.durable_runs set awaits = array['child:' || %s::text] where task_id = %s", [child, parent]
    )
    connection.execute("select pgsched.recheck_runs(array[%s]::bigint[])", [parent])
    connection.commit()


def status(connection: Connection, task: int) -> str:
    found = one(connection, "select status::text from pgsched.tasks where id = %s", task)
    connection.commit()
    return str(found)


def finish(connection: Connection, child: int) -> None:
    """As a worker does: the row, then who waits for it; not committed."""
    connection.execute(
        "update pgsched.tasks set status = 'completed', next_run_at = null, completed_at = now() where id = %s", [child]
    )


def waits_for_a_lock(dsn: str) -> bool:
    with psycopg.connect(dsn) as looking:
        return bool(one(looking, "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"))


def beside(dsn: str, connection: Connection, sql: str, *given: object) -> tuple[threading.Thread, list[str]]:
    """Run a statement that waits for a lock, and commit; returns its thread, and the errors that it adds to."""
    errors: list[str] = []

    def run() -> None:
        try:
            connection.execute(sql, given)
            connection.commit()
        except psycopg.Error as error:
            errors.append(str(error))
            connection.rollback()

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: waits_for_a_lock(dsn), message="it waits")
    return thread, errors


@pytest.mark.parametrize("ending", ["select pgsched.cancel(%s)", "delete from pgsched.tasks where id = %s"])
def test_a_child_that_ends_while_its_parent_is_suspended_wakes_it(dsn: str, ending: str) -> None:
    with session(dsn) as one_side, session(dsn) as other:
        parent, child = family(one_side)
        one_side.execute(ending, [child])
        thread = threading.Thread(target=suspend, args=(other, parent, child))
        thread.start()
        wait_until(lambda: waits_for_a_lock(dsn) or not thread.is_alive(), message="it waits, or has looked")
        one_side.commit()
        thread.join()
        assert status(one_side, parent) == "pending"


def test_a_child_that_is_deleted_wakes_its_parent(dsn: str) -> None:
    with session(dsn) as connection:
        parent, child = family(connection)
        suspend(connection, parent, child)
        assert status(connection, parent) == "blocked"
        connection.execute("delete from pgsched.tasks where id = %s", [child])
        connection.commit()
        assert status(connection, parent) == "pending"


def test_a_cancel_reaches_a_child_that_is_made_meanwhile(dsn: str) -> None:
    with session(dsn) as one_side, session(dsn) as other:
        parent, child = family(one_side)
        one_side.execute("delete from pgsched.durable_steps")
        one_side.commit()
        other.execute("select from pgsched.tasks where id = %s for share", [parent])
        add_child_step(other, parent, child)
        thread, errors = beside(dsn, one_side, "select pgsched.cancel(%s)", parent)
        other.commit()
        thread.join()
        assert errors == []
        assert [status(other, task) for task in (parent, child)] == ["cancelled", "cancelled"]


@pytest.mark.parametrize("change", ["select pgsched.restart(%s)", "select pgsched.cancel(%s)"])
def test_a_change_beside_the_finish_of_a_grandchild_is_no_circle(dsn: str, change: str) -> None:
    with session(dsn) as one_side, session(dsn) as other:
        parent, child = family(one_side)
        _, grandchild = family(one_side, child)
        suspend(one_side, child, grandchild)
        suspend(one_side, parent, child)
        finish(other, grandchild)
        thread, errors = beside(dsn, one_side, change, parent)
        other.execute("select pgsched.settle(array[%s]::bigint[])", [grandchild])
        other.commit()
        thread.join()
        assert errors == []
        assert status(other, parent) == ("cancelled" if "cancel" in change else "pending")
