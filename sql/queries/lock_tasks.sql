-- Locks up to %(limit)s due rows until the end of the transaction, in the order of claim_tasks.sql, and writes nothing.
--
-- Rows that may run before a lease is written are `lockable`: one-time tasks of %(locked_types)s, unless this attempt
-- is the last, or the transaction that had locked the row before was lost (`xmax`), so that a task that kills its
-- worker is counted from the second time on. VACUUM may erase that mark, so rows that were due when a worker that has
-- missed a heartbeat may still have lived are leased as well. A row with an expired lease is left to claim_tasks.sql,
-- which records the lost attempt. Returns rows with up to %(bytes)s bytes of payload, but at least one; after them,
-- without payload, those that must keep the mark of a lost lock when they are released. The token is drawn when all
-- rows are locked, so it is greater than any that they had.
select t.id, t.task_type, t.queue, t.priority, case when t.before < %(bytes)s then t.payload else '{}' end as payload,
  t.schedule_type, t.scheduled_for, t.next_run_at,
  date_part('epoch', now() - t.next_run_at) as late, t.attempts + 1 as attempts, t.max_attempts,
  greatest((select nextval('pgsched.fencing_tokens')), t.fencing_token + 1) as fencing_token, t.timeout,
  -- Null stands for the default and costs next to nothing to read.
  nullif(t.backoff, 'exponential') as backoff, nullif(t.backoff_delay, '5 seconds') as backoff_delay,
  nullif(t.backoff_max, '1 hour') as backoff_max, t.backoff_factor, t.backoff_jitter,
  t.cron_expression, nullif(t.timezone, 'UTC') as timezone, t.start_date, t.end_date, t.repeat_interval, t.repeat_count,
  t.execution_count, nullif(t.on_missed, 'once') as on_missed, t.catchup_window, nullif(t.overlap, 'skip') as overlap,
  t.jitter,
  case when t.schedule_type <> 'one_time' then t.planned_from end as planned_from, t.revision,
  false as lease_expired, t.bytes, nullif(t.depends_on, '{}') as depends_on,
  t.fired is not null as fired,
  case when t.cron_expression like '%%=%%@%%' then pgsched.calendar_days(t.cron_expression) end as left_out,
  false as cut,
  not t.lock_lost and t.schedule_type = 'one_time' and t.attempts < t.max_attempts - 1
    and t.task_type = any(%(locked_types)s::text[])
    and t.next_run_at > (
      select coalesce(max(w.heartbeat_at + w.lease / 2), '-infinity')
      from pgsched.workers w where w.heartbeat_at < now() - w.lease / 2) as lockable,
  t.lock_lost, t.expires_at, t.about
from (
  -- The limit is below the window functions, otherwise every probe would lock rows.
  select locked.*, sum(locked.bytes) over (rows unbounded preceding) - locked.bytes as before,
    -- Checked once the row is locked: before, the session that had locked it might still exist.
    coalesce(locked.unbegun_token, 0) = -1 or locked.locker <> '0' and pgsched.lock_was_lost(locked.locker) as lock_lost
  from (
    select found.*
    from (
      select p.queue as probed, p.priority as probed_priority, p.place, q.ordering is distinct from 'lifo' as fifo,
        coalesce(p.since, '-infinity') as since, coalesce(p.until, 'infinity') as until,
        coalesce(p.cursor_at, p.since, '-infinity') as cursor_at, coalesce(p.cursor_id, 0) as cursor_id
      from unnest(%(queues)s::text[], %(priorities)s::smallint[], %(sinces)s::timestamptz[],
        %(cursor_ats)s::timestamptz[], %(cursor_ids)s::bigint[], %(untils)s::timestamptz[])
        with ordinality as p(queue, priority, since, cursor_at, cursor_id, until, place)
      left join pgsched.queues q on q.name = p.queue
      where q.paused is not true and q.apart is not true
      order by p.place
    ) probe
    cross join lateral (
      select * from (
       select t.id, t.task_type, t.queue, t.priority, t.payload, t.schedule_type, t.scheduled_for, t.next_run_at,
         t.attempts, t.max_attempts, t.fencing_token, t.timeout, t.backoff, t.backoff_delay, t.backoff_max,
         t.backoff_factor, t.backoff_jitter, t.cron_expression, t.timezone, t.start_date, t.end_date,
         t.repeat_interval, t.repeat_count, t.execution_count, t.on_missed, t.catchup_window, t.overlap, t.jitter,
         t.planned_from, t.revision, t.depends_on, t.fired,
         case when t.expires_at is not null and t.attempts = 0 and t.last_run_at is null
           then t.expires_at end as expires_at,
         t.unbegun_token, t.xmax as locker,
         case when pg_column_compression(t.payload) is null then pg_column_size(t.payload)
           else octet_length(t.payload::text) end as bytes,
         case when t.task_type = any(%(context_types)s::text[]) then json_build_array(
           t.task_name, t.tags, t.metadata, t.tenant_id, t.user_id, t.created_by, t.idempotency_key, t.parent_id,
           t.schedule_type = 'one_time' and t.last_error not like 'Snooze: %%')::text end as about
       from pgsched.tasks t
       where probe.fifo and t.queue = probe.probed and t.priority = probe.probed_priority
         and pgsched.is_claimable(t) and t.locked_until is null
         and (t.next_run_at, t.id) > (probe.cursor_at, probe.cursor_id) and t.next_run_at <= probe.until
         and t.task_type = any(%(task_types)s::text[]) and t.id <> all(%(set_aside)s::bigint[])
       order by t.next_run_at, t.id
       limit %(limit)s
       for no key update skip locked) first_in
      union all
      select * from (
       select t.id, t.task_type, t.queue, t.priority, t.payload, t.schedule_type, t.scheduled_for, t.next_run_at,
         t.attempts, t.max_attempts, t.fencing_token, t.timeout, t.backoff, t.backoff_delay, t.backoff_max,
         t.backoff_factor, t.backoff_jitter, t.cron_expression, t.timezone, t.start_date, t.end_date,
         t.repeat_interval, t.repeat_count, t.execution_count, t.on_missed, t.catchup_window, t.overlap, t.jitter,
         t.planned_from, t.revision, t.depends_on, t.fired,
         case when t.expires_at is not null and t.attempts = 0 and t.last_run_at is null
           then t.expires_at end as expires_at,
         t.unbegun_token, t.xmax as locker,
         case when pg_column_compression(t.payload) is null then pg_column_size(t.payload)
           else octet_length(t.payload::text) end as bytes,
         case when t.task_type = any(%(context_types)s::text[]) then json_build_array(
           t.task_name, t.tags, t.metadata, t.tenant_id, t.user_id, t.created_by, t.idempotency_key, t.parent_id,
           t.schedule_type = 'one_time' and t.last_error not like 'Snooze: %%')::text end as about
       from pgsched.tasks t
       where not probe.fifo and t.queue = probe.probed and t.priority = probe.probed_priority
         and pgsched.is_claimable(t) and t.locked_until is null
         and t.next_run_at > probe.since and t.next_run_at <= probe.until
         and t.task_type = any(%(task_types)s::text[]) and t.id <> all(%(set_aside)s::bigint[])
       order by t.next_run_at desc, t.id desc
       limit %(limit)s
       for no key update skip locked) last_in
    ) found
    limit %(limit)s
  ) locked
) t
where t.before < %(bytes)s or t.lock_lost
