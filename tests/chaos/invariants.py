"""What must be true of the database whatever was killed, read from the database alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg

Connection = psycopg.Connection[dict[str, Any]]

# Each statement returns the rows that break a rule; the rules are about one-time tasks.
ALWAYS = {
    "an insert that was acknowledged is there": """
        select id from unnest(%(ids)s::bigint[]) as acknowledged(id)
        where not exists (select from pgsched.tasks t where t.id = acknowledged.id)""",
    "no task has two completed executions": """
        select task_id, count(*) from pgsched.executions where status = 'completed' group by task_id
        having count(*) > 1""",
    "no claim is in the history twice": """
        select task_id, fencing_token, count(*) from pgsched.executions group by task_id, fencing_token
        having count(*) > 1""",
    "an attempt with a later token begins after the one before it has ended": """
        select * from (
          select task_id, fencing_token, started_at,
            lag(finished_at) over (partition by task_id order by fencing_token) as ended
          from pgsched.executions) e
        where started_at < ended""",
    "nothing comes after the completed execution": """
        select e.task_id, e.fencing_token from pgsched.executions e
        join pgsched.executions completed on completed.task_id = e.task_id and completed.status = 'completed'
        where e.fencing_token > completed.fencing_token""",
    "no execution is ahead of its task's token": """
        select e.task_id, e.fencing_token, t.fencing_token as token from pgsched.executions e
        join pgsched.tasks t on t.id = e.task_id where e.fencing_token > t.fencing_token""",
    "attempts are numbered without a gap": """
        select * from (
          select task_id, attempt, row_number() over (partition by task_id order by fencing_token) as place
          from pgsched.executions) e
        where attempt <> place""",
    "a running task has one lease and no other task has any": """
        select id, status, locked_by, locked_until from pgsched.tasks
        where (status = 'running') <> (locked_by is not null) or (locked_by is null) <> (locked_until is null)""",
    "a task is completed if and only if an execution of it is": """
        select t.id, t.status from pgsched.tasks t
        where (t.status = 'completed') <> exists (
          select from pgsched.executions e where e.task_id = t.id and e.status = 'completed')""",
}
AT_THE_END = {
    "every task is completed": "select id, status, last_error from pgsched.tasks where status <> 'completed'",
    "a task's attempts are all in the history": """
        select t.id, t.attempts, count(e) as executions from pgsched.tasks t
        left join pgsched.executions e on e.task_id = t.id
        group by t.id having t.attempts <> count(e) or t.execution_count <> 1""",
}


def assert_invariants(connection: Connection, acknowledged: Iterable[int] = ()) -> None:
    """Fail with every rule that is broken and some of the rows that break it."""
    _assert(connection, ALWAYS, acknowledged)


def assert_all_completed(connection: Connection, acknowledged: Iterable[int] = ()) -> None:
    """As :func:`assert_invariants`; beyond that every task has run to its end."""
    _assert(connection, ALWAYS | AT_THE_END, acknowledged)


def _assert(connection: Connection, rules: dict[str, str], acknowledged: Iterable[int]) -> None:
    ids = list(acknowledged)
    broken = {}
    for rule, statement in rules.items():
        rows = connection.execute(statement, {"ids": ids}).fetchall()  # type: ignore[arg-type]
        if rows:
            broken[rule] = (len(rows), rows[:5])
    assert not broken, "\n".join(
        f"broken: {rule}: {count} rows, such as {rows}" for rule, (count, rows) in broken.items()
    )
