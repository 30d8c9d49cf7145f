"""Tasks of the demonstration brought into a state, as of a while ago."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg

Connection = psycopg.Connection[dict[str, Any]]
WORKER = UUID("0b6a7c52-3f0e-4d1b-9c1e-5b8d1f6a2c01")
"""Who does it, unless another one is named."""


def end(connection: Connection, task_id: int) -> None:
    """Let a task end well, a few minutes ago."""
    connection.execute(
        """
        update pgsched.tasks
        set status = 'completed', completed_at = now(), next_run_at = null, attempts = 1, result = '{"rows": 1204}'
        where id = %s
        """,
        (task_id,),
    )
    add_attempt(connection, task_id, "completed", began="4 minutes", seconds=17, number=1)


def start(connection: Connection, task_id: int, *, began: str, holder: UUID = WORKER) -> None:
    """Let a worker hold a task since a while."""
    connection.execute(
        """
        update pgsched.tasks
        set status = 'running', locked_by = %s, locked_until = now() + interval '1 hour', attempts = attempts + 1,
          fencing_token = fencing_token + 1, started_at = now() - %s::interval, last_run_at = now() - %s::interval
        where id = %s
        """,
        (holder, began, began, task_id),
    )


def die(connection: Connection, task_id: int, error: str, *, ago: str) -> None:
    """Let a task die after its last attempt."""
    connection.execute(
        """
        update pgsched.tasks
        set status = 'dead', died_at = now() - %s::interval, completed_at = null, next_run_at = null,
          attempts = max_attempts, last_error = %s, last_run_at = now() - %s::interval,
          created_at = now() - interval '1 hour', scheduled_for = now() - interval '1 hour'
        where id = %s
        """,
        (ago, error, ago, task_id),
    )


def add_attempt(
    connection: Connection,
    task_id: int,
    status: str,
    *,
    began: str,
    seconds: float,
    number: int,
    error: str | None = None,
) -> None:
    """Add an attempt to the history of a task."""
    connection.execute(
        """
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, worker_id, status, started_at, finished_at, duration_ms,
          error)
        select id, task_type, queue, %s, %s, %s, %s, now() - %s::interval,
          now() - %s::interval + %s * interval '1 second', %s * 1000.0, %s
        from pgsched.tasks where id = %s
        """,
        (number, number, WORKER, status, began, began, seconds, seconds, error, task_id),
    )


def add_log(
    connection: Connection,
    task_id: int,
    ago: str,
    level: str,
    message: str,
    fields: dict[str, Any],
    *,
    attempt: int = 1,
) -> None:
    """Add a line to the log of a task."""
    connection.execute(
        """
        insert into pgsched.execution_logs (task_id, fencing_token, attempt, logged_at, level, message, fields)
        values (%s, 1, %s, now() - %s::interval, %s, %s, %s)
        """,
        (task_id, attempt, ago, level, message, json.dumps(fields)),
    )


def begin_run(connection: Connection, task_id: int, *, ago: str) -> None:
    """Let a durable run wait for the event ``approved``, two days at most, that began a while ago."""
    connection.execute(
        """
        update pgsched.tasks
        set status = 'blocked', next_run_at = null, created_at = now() - %s::interval,
          scheduled_for = now() - %s::interval, last_run_at = now() - interval '31 minutes'
        where id = %s
        """,
        (ago, ago, task_id),
    )
    connection.execute(
        """
        insert into pgsched.durable_runs (task_id, tick_number, began_at, code_version, awaits, wakes_at)
        values (%s, 1, now() - %s::interval, '2026.11.3', '{event:approved}', now() + interval '2 days')
        """,
        (task_id, ago),
    )


def add_step(
    connection: Connection,
    task_id: int,
    kind: str,
    name: str,
    ago: str,
    seconds: float | None,
    *,
    key: str = "",
    status: str = "completed",
    attempts: int = 1,
    result: Any = None,
    error: str | None = None,
    child_id: int | None = None,
    wakes: str | None = None,
) -> None:
    """Record a step of the run of a task; without ``seconds`` it waits."""
    connection.execute(
        """
        insert into pgsched.durable_steps (
          task_id, began_at, tick_number, name, key, kind, status, attempts, result, error, child_id, wakes_at,
          started_at, finished_at, fencing_token)
        select r.task_id, r.began_at, 1, %s, %s, %s, %s, %s, %s, %s, %s, now() + %s::interval, now() - %s::interval,
          now() - %s::interval + %s * interval '1 second', 1
        from pgsched.durable_runs r where r.task_id = %s
        """,
        (
            name,
            key,
            kind,
            "waiting" if seconds is None else status,
            attempts if kind == "step" else 0,
            None if result is None else json.dumps(result),
            error,
            child_id,
            wakes,
            ago,
            ago,
            seconds,
            task_id,
        ),
    )
