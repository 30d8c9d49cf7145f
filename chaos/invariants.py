"""What must be true of the database whatever was killed, read from the database alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

Connection = psycopg.Connection[dict[str, Any]]
Broken = dict[str, tuple[int, list[dict[str, Any]]]]
"""By rule: how many rows break it, and some of them."""

# An attempt that was lost with the transaction that had locked its row is not counted, and has the number 0. When that
# happened is known to the server first, so the next attempt may have begun before its end was noted.
_OF_ONE_TIME = "exists (select from pgsched.tasks o where o.id = task_id and o.schedule_type = 'one_time')"

# Each statement returns the rows that break a rule.
ALWAYS = {
    "an insert that was acknowledged is there": """
        select id from unnest(%(ids)s::bigint[]) as acknowledged(id)
        where not exists (select from pgsched.tasks t where t.id = acknowledged.id)""",
    "no task has two completed executions": f"""
        select task_id, count(*) from pgsched.executions where status = 'completed' and {_OF_ONE_TIME} group by task_id
        having count(*) > 1""",
    "no claim is in the history twice": """
        select task_id, fencing_token, count(*) from pgsched.executions group by task_id, fencing_token
        having count(*) > 1""",
    "an attempt with a later token begins after the one before it has ended": """
        select * from (
          select task_id, fencing_token, started_at,
            max(finished_at) filter (where attempt > 0) over (
              partition by task_id order by fencing_token rows between unbounded preceding and 1 preceding) as ended
          from pgsched.executions) e
        where started_at < ended""",
    "nothing comes after the completed execution": f"""
        select e.task_id, e.fencing_token from pgsched.executions e
        join pgsched.executions completed on completed.task_id = e.task_id and completed.status = 'completed'
        where e.fencing_token > completed.fencing_token and {_OF_ONE_TIME.replace("task_id", "e.task_id")}""",
    "no execution is ahead of its task's token": """
        select e.task_id, e.fencing_token, t.fencing_token as token from pgsched.executions e
        join pgsched.tasks t on t.id = e.task_id where e.fencing_token > t.fencing_token and e.attempt > 0""",
    "attempts are numbered without a gap": f"""
        select * from (
          select task_id, attempt, row_number() over (partition by task_id order by fencing_token) as place
          from pgsched.executions where attempt > 0 and {_OF_ONE_TIME}) e
        where attempt <> place""",
    "only an attempt that is lost or was locked by others goes uncounted": """
        select task_id, fencing_token, attempt, status from pgsched.executions
        where attempt < 0 or attempt = 0 and status <> 'lost'
          and not (status = 'cancelled' and starts_with(error, 'another session held a lock'))""",
    "a running task has one lease and no other task has any": """
        select id, status, locked_by, locked_until from pgsched.tasks
        where (status = 'running') <> (locked_by is not null) or (locked_by is null) <> (locked_until is null)""",
    "a task is completed if and only if an execution of it is": """
        select t.id, t.status from pgsched.tasks t
        where schedule_type = 'one_time' and (t.status = 'completed') <> exists (
          select from pgsched.executions e where e.task_id = t.id and e.status = 'completed')""",
    "no execution ends before it begins, or in the future": """
        select task_id, fencing_token, started_at, finished_at from pgsched.executions
        where finished_at < started_at or finished_at > clock_timestamp()""",
}
AT_THE_END = {
    "every task has ended as it should": """
        select id, status, last_error from pgsched.tasks
        where cron_expression is null and status <> coalesce(%(others)s ->> id::text, 'completed')""",
    # A claim after the last attempt makes the task dead and is no attempt. Its worker may be lost before that.
    "a task's attempts are all in the history": """
        select t.id, t.attempts, count(e) as executions from pgsched.tasks t
        left join pgsched.executions e on e.task_id = t.id and e.attempt > 0
          and not (e.attempt > t.max_attempts and e.status = 'lost')
        where t.schedule_type = 'one_time'
        group by t.id having t.attempts <> count(e) or t.execution_count <> (t.status = 'completed')::integer""",
    "no lease is left": "select id, locked_by, locked_until from pgsched.tasks where locked_by is not null",
}
SCHEDULES = {
    "no tick has two completed executions": """
        select task_id, scheduled_for, count(*) from pgsched.executions where status = 'completed'
        group by task_id, scheduled_for having count(*) > 1""",
    "a schedule of so many ticks has run them all, each once": """
        select t.id, t.repeat_count, t.execution_count, count(distinct e.scheduled_for) as ticks, count(e) as executions
        from pgsched.tasks t left join pgsched.executions e on e.task_id = t.id and e.status = 'completed'
        where t.repeat_count is not null
        group by t.id
        having t.execution_count <> t.repeat_count or count(distinct e.scheduled_for) <> t.repeat_count
          or count(e) <> t.repeat_count""",
    "every tick of a schedule has run or is noted as missed": """
        select * from (
          select t.id, count(distinct e.scheduled_for) as ran, 1 + extract(epoch from max(e.scheduled_for)
              - min(e.scheduled_for)) / coalesce(extract(epoch from t.repeat_interval), 1) as ticks,
            (select coalesce(sum(m.ticks), 0) from pgsched.missed_ticks m
             where m.task_id = t.id and m.first_tick between min(e.scheduled_for) and max(e.scheduled_for)) as missed
          from pgsched.tasks t join pgsched.executions e on e.task_id = t.id and e.status = 'completed'
          where t.cron_expression = '* * * * * *' or t.repeat_interval is not null
          group by t.id) schedules
        where ticks <> ran + missed""",
}
EFFECTS = {
    "what a transactional handler wrote is there once for its completed execution, and for no other": """
        select coalesce(e.task_id, w.task_id) as id, coalesce(e.fencing_token, w.token) as token, w.times
        from (select task_id, fencing_token, scheduled_for from pgsched.executions
              where status = 'completed' and task_type in ('entry', 'entry_plain')) e
        full join (select task_id, token, scheduled_for, count(*) as times from effects group by 1, 2, 3) w
          on w.task_id = e.task_id and w.token = e.fencing_token
            and w.scheduled_for is not distinct from e.scheduled_for
        where w.times is distinct from 1 or e.task_id is null""",
    "the ledger adds up": """
        select * from (
          select place, total,
            (select count(*) from effects where task_id %% (select count(*) from ledger) = place) as effects
          from ledger) l
        where total <> effects""",
}


def assert_invariants(connection: Connection, acknowledged: Iterable[int] = ()) -> None:
    """Fail with every rule that is broken and some of the rows that break it."""
    _assert(connection, ALWAYS, acknowledged)


def assert_all_completed(connection: Connection, acknowledged: Iterable[int] = ()) -> None:
    """As :func:`assert_invariants`; beyond that every task has run to its end."""
    _assert(connection, ALWAYS | AT_THE_END, acknowledged)


def broken_rules(connection: Connection, rules: Mapping[str, str], acknowledged: Mapping[int, str]) -> Broken:
    """The rules that do not hold. ``acknowledged`` has the ids of tasks and the status each must have at the end."""
    others = {str(task_id): status for task_id, status in acknowledged.items() if status != "completed"}
    broken = {}
    for rule, statement in rules.items():
        rows = connection.execute(
            statement,  # type: ignore[arg-type]
            {"ids": list(acknowledged), "others": Jsonb(others)},
        ).fetchall()
        if rows:
            broken[rule] = (len(rows), rows[:5])
    return broken


def count_lost(connection: Connection, acknowledged: Mapping[int, str]) -> int:
    """Count acknowledged tasks that are missing or did not end as expected; a schedule without an end may wait."""
    return _number(
        connection,
        """
        select count(*) as n
        from unnest(%s::bigint[], %s::text[]) as a(id, status)
        left join pgsched.tasks t on t.id = a.id
        where t.id is null or (t.cron_expression is null and t.status <> a.status)
          or (t.cron_expression is not null and t.status not in ('pending', 'running'))
        """,
        [list(acknowledged), list(acknowledged.values())],
    )


def count_duplicates(connection: Connection) -> int:
    """How many completed executions and effects there are beyond one for each tick."""
    return _number(
        connection,
        """
        select coalesce(sum(surplus), 0) as n from (
          select count(*) - 1 as surplus from pgsched.executions where status = 'completed'
          group by task_id, scheduled_for
          union all
          select count(*) - 1 from effects group by task_id, scheduled_for) s
        """,
        [],
    )


def _number(connection: Connection, statement: str, values: list[Any]) -> int:
    row = connection.execute(statement, values).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row["n"])


def _assert(connection: Connection, rules: Mapping[str, str], acknowledged: Iterable[int]) -> None:
    broken = broken_rules(connection, rules, dict.fromkeys(acknowledged, "completed"))
    assert not broken, "\n".join(
        f"broken: {rule}: {count} rows, such as {rows}" for rule, (count, rows) in broken.items()
    )
