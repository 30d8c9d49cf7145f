-- Claims up to %(room)s due rows from queues with limits or ageing: from each queue no more than its share of the room,
-- its limits and the ageing of its rows allow (see pgsched.claim_queue). Rows in `set_aside` are skipped. A claimed row
-- has the columns of claim_tasks.sql; a row without an id shows when to query its queue again.
select c.asked, c.again, c.held_back, c.noted,
  t.id, t.task_type, t.queue, t.priority, t.payload, t.schedule_type, t.scheduled_for, t.next_run_at,
  date_part('epoch', now() - t.next_run_at) as late, t.attempts, t.max_attempts, t.fencing_token, t.timeout,
  -- Null stands for the default and costs next to nothing to read.
  nullif(t.backoff, 'exponential') as backoff, nullif(t.backoff_delay, '5 seconds') as backoff_delay,
  nullif(t.backoff_max, '1 hour') as backoff_max, t.backoff_factor, t.backoff_jitter,
  t.cron_expression, nullif(t.timezone, 'UTC') as timezone, t.start_date, t.end_date, t.repeat_interval, t.repeat_count,
  t.execution_count, nullif(t.on_missed, 'once') as on_missed, t.catchup_window, nullif(t.overlap, 'skip') as overlap,
  t.jitter,
  case when t.schedule_type <> 'one_time' then t.planned_from end as planned_from, t.revision,
  c.lease_expired, c.size::integer as bytes, nullif(t.depends_on, '{}') as depends_on, t.fired is not null as fired,
  case when t.cron_expression like '%%=%%@%%' then pgsched.calendar_days(t.cron_expression) end as left_out,
  false as cut, false as lockable, false as lock_lost,
  -- By when it must start; null once it has.
  case when t.expires_at is not null and t.attempts <= 1 and t.last_run_at is null then t.expires_at end as expires_at,
  case when t.task_type = any(%(context_types)s::text[]) then json_build_array(
    t.task_name, t.tags, t.metadata, t.tenant_id, t.user_id, t.created_by, t.idempotency_key, t.parent_id,
    t.schedule_type = 'one_time' and t.last_error not like 'Snooze: %%')::text end as about
from pgsched.claim_limited(
  %(queues)s::text[], %(rooms)s::integer[], %(room)s::integer, %(bytes)s::bigint, %(worker)s::uuid, %(lease)s::float8,
  %(task_types)s::text[], %(set_aside)s::bigint[], false) as c
cross join lateral (select (c.task).*) as t
