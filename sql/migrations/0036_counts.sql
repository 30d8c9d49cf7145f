-- Works with programs of version 12 of the schema and later.
--
-- How many tasks are in each status, and what will run within a day: both read a bounded number of rows, whatever the table
-- holds beside them. Nothing is counted by claims, finishes or inserts for that.

create index if not exists tasks_paused on pgsched.tasks (queue, id) where not enabled;
comment on index pgsched.tasks_paused is 'The tasks that are paused: for lists and counts of them.';

create function pgsched.about_rows(condition text) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
-- What the planner expects, by the statistics of the last ANALYZE and the size that the table has now.
declare
  plan json;
begin
  execute 'explain (format json) select from pgsched.tasks t where ' || condition into plan;
  return (plan -> 0 -> 'Plan' ->> 'Plan Rows')::numeric::bigint;
end $$;
comment on function pgsched.about_rows is
  'For count_tasks: an estimate of how many tasks fit a condition, from the planner''s statistics.';
revoke execute on function pgsched.about_rows from public;

create function pgsched.count_tasks(queue text default null)
returns table (status text, number bigint, exact boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off as $$
#variable_conflict use_variable
-- Each index is read up to a cap: 100,000 entries where the index alone says it, fewer where rows are looked at. What is full
-- is estimated instead, and exact is false.
declare
  of_queue constant text := case when queue is null then '' else format(' and t.queue = %L', queue) end;
  names constant text := case when queue is null then 'pgsched.queues_in_use()' else format('(select %L::text)', queue) end;
  entries constant integer := 100000;
  looked_at constant integer := 10000;
  front constant integer := 1000;
  counted bigint;
  waiting bigint;
  running bigint;
  paused bigint;
  paused_running bigint;
  is_full boolean;
  is_exact boolean;
begin
  execute format(
    'select count(*) from (select from pgsched.tasks t where t.next_run_at is not null and t.enabled%s limit %s) c',
    of_queue, entries) into waiting;
  execute format(
    'select count(*) filter (where c.status = ''pending''), count(*) filter (where c.status = ''running''), count(*) = %2$s
     from (select t.status from pgsched.tasks t where not t.enabled%1$s limit %2$s) c',
    of_queue, looked_at) into paused, paused_running, is_full;
  is_exact := waiting < entries and not is_full;
  if waiting = entries then
    waiting := greatest(pgsched.about_rows('t.next_run_at is not null and t.enabled' || of_queue), entries);
  end if;
  -- What runs was due, and is in front of its queue and priority.
  execute format(
    'select coalesce(sum(f.running), 0), coalesce(bool_or(f.seen = %2$s), false)
     from %1$s as n(name) cross join generate_series(10, 1, -1) as p(priority)
     cross join lateral (
       select count(*) as seen, count(*) filter (where c.status = ''running'') as running
       from (
         select t.status from pgsched.tasks t
         where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
           and t.next_run_at <= now()
         order by t.next_run_at, t.id
         limit %2$s) c) f',
    names, front) into running, is_full;
  return query values
    ('pending', waiting - running + paused, is_exact and not is_full),
    ('running', running + paused_running, not is_full);

  -- Who waits for others has an edge for each; it goes when it is settled.
  execute format(
    'select count(*) from (select d.task_id from pgsched.dependencies d %s group by d.task_id order by d.task_id limit %s) c',
    case when queue is null then '' else format('join pgsched.tasks t on t.id = d.task_id and t.queue = %L', queue) end,
    entries) into counted;
  return query values ('blocked', counted, counted < entries);

  execute format(
    'select count(*) from (select from pgsched.tasks t where t.died_at is not null%s limit %s) c', of_queue, entries)
  into counted;
  is_exact := counted < entries;
  if not is_exact then
    counted := greatest(pgsched.about_rows('t.died_at is not null' || of_queue), entries);
  end if;
  return query values ('dead', counted, is_exact);

  -- By the index alone; the rows, which say more, are read where there are few.
  execute format(
    'select count(*) from (select from pgsched.tasks t where t.completed_at is not null%s limit %s) c', of_queue, looked_at)
  into counted;
  if counted < looked_at then
    execute 'select count(*) filter (where t.status = ''completed''), count(*) filter (where t.status = ''cancelled'')
       from pgsched.tasks t where t.completed_at is not null' || of_queue
    into waiting, counted;
    return query values ('completed', waiting, true), ('cancelled', counted, true);
  else
    return query values
      ('completed', pgsched.about_rows('t.status = ''completed''' || of_queue), false),
      ('cancelled', pgsched.about_rows('t.status = ''cancelled''' || of_queue), false);
  end if;
end $$;
comment on function pgsched.count_tasks is
  'How many tasks are in each status. exact: counted by an index; otherwise estimated from the planner''s statistics, since there are too many to count.
queue: In this queue; null: in all.';

create function pgsched.upcoming(
  within interval default '24:00:00', max_rows integer default 1000, queue text default null,
  after_time timestamptz default null, after_id bigint default null)
returns table (
  run_at timestamptz, task_id bigint, task_type text, task_name text, queue_name text, priority integer,
  schedule_type text, cron_expression text, repeat_interval interval, tenant_id text, user_id text)
language sql stable as $$
-- By the due clock: one probe for each queue and priority, which ends at the first row behind the time.
select u.next_run_at, u.id, t.task_type::text, t.task_name::text, t.queue::text, t.priority::integer,
  t.schedule_type::text, t.cron_expression::text, t.repeat_interval::interval, t.tenant_id::text, t.user_id::text
from (
  select f.next_run_at, f.id
  from pgsched.queues_in_use() as n(name)
  cross join generate_series(10, 1, -1) as p(priority)
  cross join lateral (
    select t.next_run_at, t.id
    from pgsched.tasks t
    where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
      and t.next_run_at > now() and t.next_run_at <= now() + upcoming.within
      and (upcoming.after_time is null
        or (t.next_run_at, t.id) > (upcoming.after_time, coalesce(upcoming.after_id, 9223372036854775807)))
    order by t.next_run_at, t.id
    limit upcoming.max_rows
  ) f
  where upcoming.queue is null or n.name = upcoming.queue
  order by f.next_run_at, f.id
  limit upcoming.max_rows
) u
cross join lateral (select t.* from pgsched.tasks t where t.id = u.id offset 0) t  -- by its id, whatever the planner expects
order by u.next_run_at, u.id
$$;
comment on function pgsched.upcoming is
  'What will run from now on until within has passed, the first one first: one-time tasks and schedules, each schedule once, by its next run. Not what is due already, waits for others or is paused.
within: How far to look ahead.
max_rows: Maximum number of rows.
queue: In this queue; null: in all.
after_time: With after_id, the run_at and task_id of the last row of the page before: the next page.
after_id: As after_time.';
