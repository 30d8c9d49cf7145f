-- Claims up to %(limit)s due rows, with one index probe per queue and priority, in the order of the arrays.
--
-- Each probe covers the rows that became due after `since`, and in first in first out order those behind the last row
-- that this worker claimed there, so that it does not scan again index entries that are finished, leased or not for
-- this worker (pgsched/worker/scan.py explains what finds the others). A row whose lease has expired is claimed like
-- any other, and its lost attempt is written to the history unless it had not started. Rows in `set_aside`, which could
-- not be claimed, are skipped. The update sets only columns that no index mentions, so it is a HOT update.
--
-- The first %(free)s rows can start at once. The others are prefetched and marked (`unbegun_token`): if their worker is
-- lost, that counts no attempt. A row that has one attempt left, or whose last worker was lost, even while it had only
-- locked the row (see lock_tasks.sql), is never prefetched: the claim stops before it and reports so (`cut`).
with probe as (
  select p.queue, p.priority, q.ordering is distinct from 'lifo' as fifo,
    coalesce(p.since, '-infinity') as since, coalesce(p.until, 'infinity') as until,
    coalesce(p.cursor_at, p.since, '-infinity') as cursor_at, coalesce(p.cursor_id, 0) as cursor_id
  from unnest(%(queues)s::text[], %(priorities)s::smallint[], %(sinces)s::timestamptz[],
    %(cursor_ats)s::timestamptz[], %(cursor_ids)s::bigint[], %(untils)s::timestamptz[])
    with ordinality as p(queue, priority, since, cursor_at, cursor_id, until, place)
  left join pgsched.queues q on q.name = p.queue
  where q.paused is not true and q.apart is not true
  order by p.place
),
due as (
  select found.id, found.locked_by, found.fencing_token, found.attempts, found.started_at, lost.lock_lost,
    found.locked_by is null and not lost.lock_lost and found.attempts < found.max_attempts - 1 as patient,
    found.locked_by is null or found.unbegun_token is distinct from found.fencing_token as counts,
    -- The size on arrival: a payload that is stored compressed is measured as text.
    case when pg_column_compression(found.payload) is null then pg_column_size(found.payload)
      else octet_length(found.payload::text) end as bytes
  from probe
  cross join lateral (
    select * from (
     select t.id, t.locked_by, t.fencing_token, t.attempts, t.max_attempts, t.started_at, t.unbegun_token, t.payload,
       t.xmax as locker
     from pgsched.tasks t
     where probe.fifo and t.queue = probe.queue and t.priority = probe.priority
       and pgsched.is_claimable(t) and (t.next_run_at, t.id) > (probe.cursor_at, probe.cursor_id)
       and t.next_run_at <= probe.until
       and t.task_type = any(%(task_types)s::text[]) and t.id <> all(%(set_aside)s::bigint[])
     order by t.next_run_at, t.id
     limit %(limit)s
     for no key update skip locked) first_in
    union all
    select * from (
     select t.id, t.locked_by, t.fencing_token, t.attempts, t.max_attempts, t.started_at, t.unbegun_token, t.payload,
       t.xmax as locker
     from pgsched.tasks t
     where not probe.fifo and t.queue = probe.queue and t.priority = probe.priority
       and pgsched.is_claimable(t) and t.next_run_at > probe.since and t.next_run_at <= probe.until
       and t.task_type = any(%(task_types)s::text[]) and t.id <> all(%(set_aside)s::bigint[])
     order by t.next_run_at desc, t.id desc
     limit %(limit)s
     for no key update skip locked) last_in
  ) found
  -- Checked once the row is locked: before, the session that had locked it might still exist.
  cross join lateral (
    select coalesce(found.unbegun_token, 0) = -1
      or found.locker <> '0' and pgsched.lock_was_lost(found.locker) as lock_lost) lost
  limit %(limit)s
),
placed as (
  select due.*, row_number() over (rows unbounded preceding) as place,
    sum(due.bytes) over (rows unbounded preceding) - due.bytes as before
  from due
),
picked as materialized (
  -- As many rows as fit into %(bytes)s bytes of payload, but at least one.
  select *
  from (
    select placed.*, bool_and(patient or place <= %(free)s) over (rows unbounded preceding) as fits,
      count(*) over () as found
    from placed
  ) p
  where before < %(bytes)s and fits
),
drawn as materialized (
  -- Drawn when all rows are locked: greater than any token that they had.
  select nextval('pgsched.fencing_tokens') as token from (select from picked limit 1) as some_row
),
marked as (
  -- Rows that are released again keep the mark that their lock was lost.
  update pgsched.tasks t set unbegun_token = -1
  from placed
  where placed.lock_lost and placed.place > (select count(*) from picked) and t.id = any(array[placed.id])
),
lost as (
  insert into pgsched.executions (
    task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
    duration_ms, error)
  select t.id, t.task_type, t.queue, picked.attempts, picked.fencing_token, t.scheduled_for, picked.locked_by, 'lost',
    picked.started_at, now(), extract(epoch from now() - picked.started_at) * 1000,
    'the lease of worker ' || picked.locked_by || ' ran out'
  from picked join pgsched.tasks t on t.id = picked.id
  where picked.locked_by is not null and picked.counts
  returning task_id
)
update pgsched.tasks t
set status = 'running', locked_by = %(worker)s, locked_until = now() + %(lease)s::float8 * interval '1 second',
  attempts = t.attempts + picked.counts::integer, fencing_token = greatest(drawn.token, t.fencing_token + 1),
  started_at = now(),
  unbegun_token = case when picked.place > %(free)s then greatest(drawn.token, t.fencing_token + 1) end
from picked, drawn
where t.id = any(array[picked.id])
returning t.id, t.task_type, t.queue, t.priority, t.payload, t.schedule_type, t.scheduled_for, t.next_run_at,
  date_part('epoch', now() - t.next_run_at) as late, t.attempts, t.max_attempts, t.fencing_token, t.timeout,
  -- Null stands for the default and costs next to nothing to read.
  nullif(t.backoff, 'exponential') as backoff, nullif(t.backoff_delay, '5 seconds') as backoff_delay,
  nullif(t.backoff_max, '1 hour') as backoff_max, t.backoff_factor, t.backoff_jitter,
  t.cron_expression, nullif(t.timezone, 'UTC') as timezone, t.start_date, t.end_date, t.repeat_interval, t.repeat_count,
  t.execution_count, nullif(t.on_missed, 'once') as on_missed, t.catchup_window, nullif(t.overlap, 'skip') as overlap,
  t.jitter,
  case when t.schedule_type <> 'one_time' then t.planned_from end as planned_from, t.revision,
  picked.locked_by is not null as lease_expired, picked.bytes, nullif(t.depends_on, '{}') as depends_on,
  t.fired is not null as fired,
  case when t.cron_expression like '%%=%%@%%' then pgsched.calendar_days(t.cron_expression) end as left_out,
  picked.found > (select count(*) from picked) as cut, false as lockable, false as lock_lost,
  -- By when it must start; null once it has.
  case when t.expires_at is not null and t.attempts <= 1 and t.last_run_at is null then t.expires_at end as expires_at,
  -- Only for handlers that take a context.
  case when t.task_type = any(%(context_types)s::text[]) then json_build_array(
    t.task_name, t.tags, t.metadata, t.tenant_id, t.user_id, t.created_by, t.idempotency_key, t.parent_id,
    t.schedule_type = 'one_time' and t.last_error not like 'Snooze: %%')::text end as about
