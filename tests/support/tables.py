"""Rows brought into a state by hand, as a worker or a person would."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

WORKER = UUID("00000000-0000-0000-0000-000000000001")


@contextmanager
def database(dsn: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection in autocommit mode whose rows are dictionaries."""
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def task_row(connection: psycopg.Connection[dict[str, Any]], task_id: int) -> dict[str, Any]:
    """A task as it is now."""
    row = connection.execute("select * from pgsched.tasks where id = %s", (task_id,)).fetchone()
    assert row is not None, f"there is no task {task_id}"
    return row


RUN = {
    *("status", "attempts", "fencing_token", "execution_count", "revision", "unbegun_token", "waiting_for", "fired"),
    *("locked_by", "locked_until", "started_at", "last_run_at", "completed_at", "died_at"),
    *("progress", "result", "last_error"),
}
"""Columns that only pgsched sets, or a session that restores rows."""


@contextmanager
def restoring(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Let rows be inserted as if they had been run."""
    connection.execute("set pgsched.restoring = on")
    yield
    connection.execute("reset pgsched.restoring")


def insert_task(connection: psycopg.Connection[dict[str, Any]], task_type: str = "mail", **columns: Any) -> int:
    """Insert a task: by a plain INSERT, or by one that restores a row when columns of its runs are given."""
    is_schedule = "cron_expression" in columns or "repeat_interval" in columns
    as_it_was = columns.keys() & RUN or (is_schedule and columns.keys() & {"scheduled_for", "next_run_at"})
    with restoring(connection) if as_it_was else nullcontext():
        return _insert(connection, {"task_type": task_type} | columns)


def _insert(connection: psycopg.Connection[dict[str, Any]], values: dict[str, Any]) -> int:
    statement = psycopg.sql.SQL("insert into pgsched.tasks ({}) values ({}) returning id").format(
        psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, values)),
        psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(values)),
    )
    row = connection.execute(statement, list(values.values())).fetchone()
    assert row is not None
    return int(row["id"])


def move_tick(connection: psycopg.Connection[dict[str, Any]], task_id: int, tick: str | datetime) -> datetime:
    """Let a schedule have been booked for ``tick`` (an SQL expression, or a moment), due then, by an older plan."""
    at = tick if isinstance(tick, str) else f"timestamptz '{tick.isoformat()}'"
    with restoring(connection):
        connection.execute(
            f"update pgsched.tasks set scheduled_for = {at}, next_run_at = {at}, attempts = 0,"
            f" planned_from = least(planned_from, {at}) where id = {task_id}"
        )
    moment: datetime = task_row(connection, task_id)["scheduled_for"]
    return moment


def set_running(connection: psycopg.Connection[dict[str, Any]], task_id: int, *, lease: str = "1 minute") -> None:
    """Claim a task."""
    connection.execute(
        """
        update pgsched.tasks
        set status = 'running', locked_by = %s, locked_until = now() + %s::interval, attempts = attempts + 1,
          fencing_token = fencing_token + 1, started_at = now()
        where id = %s
        """,
        (WORKER, lease, task_id),
    )


def set_dead(
    connection: psycopg.Connection[dict[str, Any]], task_id: int, *, ago: str = "0", error: str = "no luck"
) -> None:
    """Let a task die."""
    connection.execute(
        """
        update pgsched.tasks
        set status = 'dead', died_at = now() - %s::interval, next_run_at = null, locked_by = null,
          locked_until = null, attempts = max_attempts, last_error = %s
        where id = %s
        """,
        (ago, error, task_id),
    )


def set_completed(connection: psycopg.Connection[dict[str, Any]], task_id: int) -> None:
    """Let a task end well."""
    connection.execute(
        """
        update pgsched.tasks
        set status = 'completed', completed_at = now(), next_run_at = null, locked_by = null, locked_until = null
        where id = %s
        """,
        (task_id,),
    )


def set_backing_off(connection: psycopg.Connection[dict[str, Any]], task_id: int) -> None:
    """Let one attempt at a task fail."""
    connection.execute(
        "update pgsched.tasks set attempts = 1, next_run_at = now() + interval '1 hour' where id = %s",
        (task_id,),
    )


def add_worker(
    connection: psycopg.Connection[dict[str, Any]],
    *,
    queues: list[str],
    task_types: list[str],
    silent_for: str = "0",
) -> None:
    """Register a worker that was last heard of so long ago."""
    connection.execute(
        """
        insert into pgsched.workers (id, hostname, pid, queues, task_types, concurrency, heartbeat_at, lease)
        values (gen_random_uuid(), 'host', 1, %s, %s, 20, now() - %s::interval, interval '30 seconds')
        """,
        (queues, task_types, silent_for),
    )


def refuse_updates(
    connection: psycopg.Connection[dict[str, Any]],
    when: str,
    *,
    then: str = "raise exception 'not in this house'",
    kind: str = "after",
    each: str = "row",
) -> None:
    """Give the table of tasks a trigger of its users, ``house_rule``."""
    connection.execute(
        f"create or replace function public.guard() returns trigger language plpgsql as "
        f"$$ begin if {when} then {then}; end if; return new; end $$"
    )
    what = f"{kind} update on pgsched.tasks for each {each}"
    connection.execute(f"create trigger house_rule {what} execute function public.guard()")


@contextmanager
def nobody_waits_for_a_row(dsn: str) -> Iterator[None]:
    """Cancel whoever waits for a row that another session has locked, and then raise an AssertionError at the end."""
    over, waited = threading.Event(), list[str]()

    def watch() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not over.wait(0.05):
                waiting = connection.execute(
                    "select query from pg_stat_activity where datname = current_database()"
                    " and wait_event in ('tuple', 'transactionid') and pg_cancel_backend(pid)"
                )
                waited.extend(row[0] for row in waiting)

    with ThreadPoolExecutor() as aside:
        watching = aside.submit(watch)
        try:
            yield
        finally:
            over.set()
        watching.result()
    assert not waited, f"it waited: {waited[0]}"


def refuse_at_commit(connection: psycopg.Connection[dict[str, Any]], when: str) -> None:
    """The same, noticed by nobody before the commit."""
    connection.execute(
        "create function public.guard() returns trigger language plpgsql as "
        f"$$ begin if {when} then raise exception 'late'; end if; return null; end $$"
    )
    connection.execute(
        "create constraint trigger house_rule after update on pgsched.tasks deferrable initially deferred "
        "for each row execute function public.guard()"
    )
