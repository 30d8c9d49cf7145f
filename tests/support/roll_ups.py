"""Attempts as the history has them, and one look of upkeep at them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg

from pgsched.worker.roll_up import RollUp

Database = psycopg.Connection[dict[str, Any]]


def add_attempts(
    db: Database,
    number: int = 1,
    *,
    ended: datetime,
    task_type: str = "mail",
    queue: str = "default",
    status: str = "completed",
    run: float = 0.1,
    wait: float | None = 0.5,
    due: datetime | None = None,
    error: str | None = None,
    attempt: int = 1,
    task_id: int = 1,
) -> None:
    """Insert attempts that ended then, after ``run`` seconds; they began ``wait`` seconds after they were ``due``."""
    began = ended - timedelta(seconds=run)
    db.execute(
        "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, scheduled_for, status,"
        " started_at, finished_at, duration_ms, error)"
        " select %(task_id)s + n, %(task_type)s, %(queue)s, %(attempt)s, n, %(due)s, %(status)s, %(began)s, %(ended)s,"
        " %(ms)s, %(error)s from generate_series(0, %(number)s - 1) n",
        {
            "task_id": task_id,
            "task_type": task_type,
            "queue": queue,
            "attempt": attempt,
            "due": due or (None if wait is None else began - timedelta(seconds=wait)),
            "status": status,
            "began": began,
            "ended": ended,
            "ms": run * 1000,
            "error": error,
            "number": number,
        },
    )


def new_roll_up(dsn: str) -> RollUp:
    """One worker's part of it."""
    return RollUp(dsn=dsn, worker=uuid4())


async def count_all(dsn: str) -> None:
    """Count the history up to now."""
    await new_roll_up_now(dsn).run_once()


async def count_only(dsn: str) -> None:
    """Count the history up to now, and delete nothing that is old."""
    one = new_roll_up_now(dsn)
    while (await one.step()).stage is not None:
        pass
    await one._session.close()


def new_roll_up_now(dsn: str) -> RollUp:
    """One whose turn it is."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("update pgsched.roll_up_state set next_at = now(), counted_until = now() - interval '1 minute'")
    return new_roll_up(dsn)


def add_error(db: Database, id: str) -> None:
    """Insert a group of errors as if it had been counted."""
    db.execute(
        "insert into pgsched.error_groups (fingerprint, exception, message, first_seen, last_seen)"
        " values (%s, 'ValueError', 'gone', now(), now())",
        (id,),
    )
    db.execute(
        "insert into pgsched.error_counts"
        " (seconds, bucket, fingerprint, task_type, queue, number, first_seen, last_seen)"
        " select 86400, date_bin('1 day', now(), timestamptz '2000-01-01 00:00:00+00'), %s, 'mail', 'default', 1,"
        " now(), now()",
        (id,),
    )
