"""What must be true of the durable runs of a trial, read from the database and from what their steps have written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chaos.durable.app import CALLS
from chaos.invariants import Connection

TABLES = """
    create table entries (task_id bigint not null, step text not null, value text not null, given text not null);
    create table calls (task_id bigint not null, step text not null, token bigint not null, value text not null);
    create table expected (name text not null, kind text not null);
    insert into expected values ('charge', 'step'), ('cool off', 'sleep'), ('pack', 'step'), ('book', 'step'),
      ('approved', 'event'), ('ship', 'child'), ('bill', 'step'), ('close', 'step')
"""
"""What runs write, without keys: what is written twice must show, not fail. And what a run records."""

_RUNS = "(select id from pgsched.tasks where task_type in ('order', 'order_plain'))"
_STEP = "(s.result #>> '{}')"

# Each statement returns the rows that break a rule.
RULES: Mapping[str, str] = {
    "every durable run has ended": """
        select t.id, t.status, r.awaits, r.wakes_at,
          (select count(*) from pgsched.durable_events e where e.task_id = t.id and e.consumed_at is null) as unconsumed
        from pgsched.tasks t left join pgsched.durable_runs r on r.task_id = t.id
        where t.task_type in ('order', 'order_plain', 'ship') and t.status <> 'completed'""",
    "nothing waits for an event that is there": """
        select r.task_id, r.awaits, e.id from pgsched.durable_runs r
        join pgsched.tasks t on t.id = r.task_id and t.status = 'blocked'
        join pgsched.durable_events e on e.task_id = r.task_id and e.consumed_at is null
          and 'event:' || e.name = any(r.awaits)""",
    "no run is left behind its task": "select task_id, awaits from pgsched.durable_runs",
    "every step of a run is recorded once, completed, and nothing else is": f"""
        select r.id as task_id, w.name, count(s) as recorded, min(s.status) as status
        from {_RUNS} r
        cross join expected w
        left join pgsched.durable_steps s on s.task_id = r.id and s.name = w.name and s.key = '' and s.kind = w.kind
          and s.finished_at is not null
        group by r.id, w.name having count(s) <> 1 or min(s.status) <> 'completed'
        union all
        select s.task_id, s.name, 1, s.status from pgsched.durable_steps s
        where s.key <> '' or s.name not in (select name from expected)""",
    "a task has one run": """
        select task_id, count(distinct began_at) from pgsched.durable_steps group by task_id
        having count(distinct began_at) > 1""",
    "what a transactional step wrote is there once": f"""
        select r.id as task_id, w.step, count(e) as times
        from {_RUNS} r cross join (values ('book'), ('bill')) w(step)
        left join entries e on e.task_id = r.id and e.step = w.step
        group by r.id, w.step having count(e) <> 1""",
    "and is that of the call that was recorded": f"""
        select e.task_id, e.step, e.value from entries e
        where not exists (
          select from pgsched.durable_steps s where s.task_id = e.task_id and s.name = e.step and {_STEP} = e.value)""",
    "a later step was given what the earlier ones have recorded": """
        select e.task_id, e.step, e.given from entries e
        where e.given is distinct from case e.step
          when 'book' then (
            select string_agg(s.result #>> '{}', ', ' order by s.name) from pgsched.durable_steps s
            where s.task_id = e.task_id and s.name in ('charge', 'pack'))
          else (
            select string_agg(coalesce(s.result ->> 'by', s.result #>> '{}'), ', ' order by s.name)
            from pgsched.durable_steps s where s.task_id = e.task_id and s.name in ('approved', 'ship')) end""",
    "a run returns what its steps have recorded": f"""
        select t.id, s.name, t.result ->> s.name as returned, s.result as recorded
        from pgsched.tasks t join pgsched.durable_steps s on s.task_id = t.id and s.kind <> 'sleep'
        where t.status = 'completed'
          and t.result ->> s.name is distinct from coalesce(s.result ->> 'by', {_STEP})""",
    "what is recorded was returned by a call": f"""
        select s.task_id, s.name, s.result from pgsched.durable_steps s
        left join calls c on c.task_id = s.task_id and c.step = s.name and c.value = {_STEP}
        where s.kind = 'step' and s.status = 'completed'
        group by s.task_id, s.name, s.result::text, s.result having count(c) <> 1""",
    "a step that is recorded is not called by a later claim": """
        select s.task_id, s.name, s.fencing_token as recorded_by, c.token as called_by
        from pgsched.durable_steps s
        join calls c on c.task_id = s.task_id and c.step = s.name and c.token > s.fencing_token
        where s.status = 'completed'""",
    "a claim calls a step once for each of its attempts": """
        select s.task_id, s.name, s.attempts, count(*) as calls
        from pgsched.durable_steps s
        join calls c on c.task_id = s.task_id and c.step = s.name and c.token = s.fencing_token
        group by s.task_id, s.name, s.attempts having count(*) > s.attempts""",
    "one event is consumed in a run, that of its step": f"""
        select r.id, count(e) filter (where e.consumed_at is not null) as consumed, count(e) as sent
        from {_RUNS} r
        left join pgsched.durable_events e on e.task_id = r.id
        group by r.id
        having count(e) filter (where e.consumed_at is not null) <> 1 or count(e) <> 1 or min(e.id) is distinct from (
          select s.event_id from pgsched.durable_steps s where s.task_id = r.id and s.name = 'approved')""",
    "a run has one child": f"""
        select r.id, count(c) as children from {_RUNS} r
        left join pgsched.tasks c on c.parent_id = r.id group by r.id having count(c) <> 1""",
    "no wait has timed out": "select task_id, name, error from pgsched.durable_steps where status = 'failed'",
}


def read_calls(books: Connection, folder: Path) -> int:
    """Copy the calls that were noted into their table; returns how many."""
    path = folder / CALLS
    text = path.read_bytes() if path.exists() else b""
    books.execute("truncate calls")
    with books.cursor() as cursor:
        with cursor.copy("copy calls from stdin") as copy:
            copy.write(text)
        cursor.execute("analyze calls, entries, pgsched.durable_steps, pgsched.durable_events, pgsched.tasks")
    return text.count(b"\n")
