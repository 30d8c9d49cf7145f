"""The books of several databases: their rows gathered in one, and what must be true of them together.

A moved task has a new id, and its history stays where it ran. So the rows of all databases are told apart by the number
that is the name of a task, which ``arrived_tasks`` leads to from each of its former ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import LiteralString

import psycopg
from psycopg import sql

from chaos.faults.system import Connection, books_of
from pgsched.domain.shards import ShardMap

TABLES: LiteralString = """
create temp table gathered_tasks (
  shard text, id bigint, number bigint, tenant_id text, status text, schedule_type text, cron_expression text,
  repeat_interval interval, repeat_count integer, execution_count bigint, parent_id bigint, next_run_at timestamptz,
  created_at timestamptz);
create temp table gathered_attempts (
  shard text, task_id bigint, fencing_token bigint, attempt integer, status text, scheduled_for timestamptz,
  started_at timestamptz, finished_at timestamptz);
create temp table gathered_missed (shard text, task_id bigint, ticks bigint, first_tick timestamptz);
create temp table gathered_writes (shard text, task_id bigint, scheduled_for timestamptz, token bigint);
create temp table gathered_arrivals (shard text, source text, source_id bigint, task_id bigint);
create temp table gathered_placements (
  shard text, tenant_id text, state text, target text, version bigint, changed_at timestamptz);
create temp table gathered_departing (shard text, id bigint);
create temp table homes (tenant_id text, shard text);
create temp table identities (shard text, task_id bigint, number bigint)
"""
GATHER: Mapping[str, LiteralString] = {
    "gathered_tasks": """
        select id, task_name::bigint, tenant_id, status, schedule_type, cron_expression, repeat_interval,
          repeat_count, execution_count, parent_id, next_run_at, created_at
        from pgsched.tasks""",
    "gathered_attempts": """
        select task_id, fencing_token, attempt, status, scheduled_for, started_at, finished_at
        from pgsched.executions""",
    "gathered_missed": "select task_id, ticks, first_tick from pgsched.missed_ticks",
    "gathered_writes": "select task_id, scheduled_for, token from effects",
    "gathered_arrivals": "select shard, id, task_id from pgsched.arrived_tasks where task_id is not null",
    "gathered_placements": "select tenant_id, state, shard, version, changed_at from pgsched.placements",
    "gathered_departing": "select id from pgsched.departing_tasks",
}
# From where each task is now back through all its former places.
IDENTIFY: LiteralString = """
insert into identities
with recursive places as (
  select shard, id, number from gathered_tasks
  union
  select a.source, a.source_id, p.number
  from places p join gathered_arrivals a on a.shard = p.shard and a.task_id = p.id
)
select shard, id, number from places
"""
_ATTEMPTS: LiteralString = """
(select i.number, a.* from gathered_attempts a left join identities i on i.shard = a.shard and i.task_id = a.task_id)
"""
_MISSED: LiteralString = """
(select i.number, m.* from gathered_missed m join identities i on i.shard = m.shard and i.task_id = m.task_id)
"""
# Each statement returns the rows that break a rule.
RULES: Mapping[str, LiteralString] = {
    "a task is in one database, once": """
        select number, array_agg(shard || ' ' || id) from gathered_tasks where parent_id is null
        group by number having count(*) > 1""",
    "an insert that was acknowledged is there": """
        select number from unnest(%(ids)s::bigint[]) as acknowledged(number)
        where not exists (select from gathered_tasks t where t.number = acknowledged.number)""",
    "every task has ended as it should": """
        select shard, id, number, status from gathered_tasks where cron_expression is null and status <> 'completed'""",
    "no tick has two completed attempts, in whichever databases": f"""
        select number, scheduled_for, array_agg(shard) from {_ATTEMPTS} a
        where status = 'completed' group by number, scheduled_for having count(*) > 1""",
    "a task is completed if and only if an attempt at it is": f"""
        select t.number, t.status from gathered_tasks t
        where schedule_type = 'one_time' and (t.status = 'completed') <> exists (
          select from {_ATTEMPTS} a where a.number = t.number and a.status = 'completed')""",
    "what a transactional handler wrote is there once": """
        select i.number, w.scheduled_for, count(*) from gathered_writes w
        left join identities i on i.shard = w.shard and i.task_id = w.task_id
        group by i.number, w.scheduled_for having count(*) > 1 or i.number is null""",
    "the tokens of a task grow, and its attempts are numbered without a gap, from database to database": f"""
        select * from (
          select a.number, a.shard, a.attempt, row_number() over (partition by a.number order by fencing_token) as place
          from {_ATTEMPTS} a join gathered_tasks t on t.number = a.number and t.schedule_type = 'one_time'
          where a.attempt > 0) e
        where attempt <> place""",
    "an attempt begins after the one before it has ended, in whichever database": f"""
        select * from (
          select number, shard, started_at, max(finished_at) filter (where attempt > 0) over (
            partition by number order by fencing_token rows between unbounded preceding and 1 preceding) as ended
          from {_ATTEMPTS} a) e
        where started_at < ended""",
    "a schedule of so many ticks has run them all, each once": f"""
        select t.number, t.execution_count, count(distinct a.scheduled_for) as ticks, count(a.number) as attempts
        from gathered_tasks t left join {_ATTEMPTS} a on a.number = t.number and a.status = 'completed'
        where t.repeat_count is not null
        group by t.number, t.execution_count, t.repeat_count
        having t.execution_count <> t.repeat_count or count(distinct a.scheduled_for) <> t.repeat_count
          or count(a.number) <> t.repeat_count""",
    "every tick of a schedule has run or is noted as missed": f"""
        select * from (
          select t.number, count(distinct a.scheduled_for) as ran,
            1 + extract(epoch from max(a.scheduled_for) - min(a.scheduled_for)) as ticks,
            (select coalesce(sum(m.ticks), 0) from {_MISSED} m
             where m.number = t.number and m.first_tick between min(a.scheduled_for) and max(a.scheduled_for)) as missed
          from gathered_tasks t join {_ATTEMPTS} a on a.number = t.number and a.status = 'completed'
          where t.cron_expression is not null
          group by t.number) schedules
        where ticks <> ran + missed""",
    "nothing is left on its way": "select shard, id from gathered_departing",
    "no move is left open": """
        select shard, tenant_id, state, target, version from gathered_placements where state in ('arriving', 'leaving')
        """,
    "a tenant that was moved is at one home, and the databases agree on it": """
        select tenant_id, array_agg(shard || ' ' || state order by version)
        from (select *, max(version) over (partition by tenant_id) as latest from gathered_placements) p
        where version = latest
        group by tenant_id
        having count(*) filter (where state = 'here' and target = shard) <> 1 or count(distinct target) <> 1""",
    "nothing waits outside the home of its tenant": """
        select t.shard, t.number, t.tenant_id, h.shard as home from gathered_tasks t
        left join homes h on h.tenant_id = t.tenant_id
        where t.next_run_at is not null and t.shard is distinct from h.shard""",
    "nothing was inserted where its tenant had left": """
        select t.shard, t.number, t.tenant_id, t.created_at, p.changed_at from gathered_tasks t
        join gathered_placements p on p.shard = t.shard and p.tenant_id = t.tenant_id and p.state = 'left'
        where t.created_at > p.changed_at and t.parent_id is null""",
}
LOST: LiteralString = """
select count(*) as n from unnest(%(ids)s::bigint[]) as a(number)
where not exists (
  select from gathered_tasks t where t.number = a.number
    and (t.status = 'completed' or t.cron_expression is not null and t.status in ('pending', 'running')))
"""
DUPLICATED: LiteralString = f"""
select coalesce(sum(surplus), 0)::bigint as n from (
  select count(*) - 1 as surplus from {_ATTEMPTS} a where status = 'completed' group by number, scheduled_for
  union all
  select count(*) - 1 from gathered_writes w join identities i on i.shard = w.shard and i.task_id = w.task_id
  group by i.number, w.scheduled_for
  union all
  select count(*) - 1 from gathered_tasks where parent_id is null group by number) s
"""


def gather(books: Connection, dsns: Mapping[str, str], known: ShardMap) -> None:
    """Copy the rows of all databases into temporary tables of this session."""
    for statement in TABLES.split(";\n"):
        books.execute(statement)
    with ExitStack() as stack:
        for name, dsn in dsns.items():
            database = stack.enter_context(books_of(dsn))
            for table, statement in GATHER.items():
                _copy(database, books, name, table, statement)
    tenants = books.execute("select distinct tenant_id from gathered_tasks where tenant_id is not null").fetchall()
    for row in tenants:
        books.execute("insert into homes values (%s, %s)", (row["tenant_id"], known.home(row["tenant_id"])))
    identify(books)


def identify(books: Connection) -> None:
    """Find the number that belongs to each id that a task has had."""
    books.execute(IDENTIFY)
    books.execute("create index on identities (shard, task_id)")
    books.execute("analyze")


def _copy(
    source: psycopg.Connection[dict[str, object]], target: Connection, shard: str, table: str, statement: LiteralString
) -> None:
    query = sql.SQL("copy (select {}, q.* from (" + statement + ") q) to stdout").format(shard)
    with (
        source.cursor().copy(query) as rows,
        target.cursor().copy(sql.SQL("copy {} from stdin").format(sql.Identifier(table))) as into,
    ):
        for part in rows:
            into.write(part)
