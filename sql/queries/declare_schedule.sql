-- A schedule declared in code: inserted by whoever comes first, brought in step when the code changed. A row that is in
-- step is not written, so that a fleet starting at once writes one row once.
insert into pgsched.tasks as t (
  task_type, task_name, payload, queue, priority, cron_expression, repeat_interval, repeat_count, timezone, start_date,
  end_date, max_attempts, backoff, backoff_delay, backoff_max, timeout, on_missed, catchup_window, overlap, jitter,
  tags, metadata, tenant_id, user_id, created_by, enabled, idempotency_key)
values (
  %(task_type)s, %(task_name)s, coalesce(%(payload)s::jsonb, '{}'), coalesce(%(queue)s, 'default'),
  coalesce(%(priority)s, 5), %(cron_expression)s, %(repeat_interval)s::interval, %(repeat_count)s,
  coalesce(%(timezone)s, 'UTC'), %(start_date)s::timestamptz, %(end_date)s::timestamptz, coalesce(%(max_attempts)s, 3),
  coalesce(%(backoff)s, 'exponential'), coalesce(%(backoff_delay)s::interval, '5 seconds'),
  coalesce(%(backoff_max)s::interval, '1 hour'), %(timeout)s::interval, coalesce(%(on_missed)s, 'once'),
  %(catchup_window)s::interval, coalesce(%(overlap)s, 'skip'), %(jitter)s::interval, coalesce(%(tags)s::text[], '{}'),
  coalesce(%(metadata)s::jsonb, '{}'), %(tenant_id)s, %(user_id)s, %(created_by)s, coalesce(%(enabled)s, true),
  %(idempotency_key)s)
on conflict (idempotency_key) where idempotency_key is not null do update
set cron_expression = excluded.cron_expression, repeat_interval = excluded.repeat_interval,
  repeat_count = excluded.repeat_count, timezone = excluded.timezone, start_date = excluded.start_date,
  end_date = excluded.end_date, queue = excluded.queue, priority = excluded.priority,
  max_attempts = excluded.max_attempts
where (t.cron_expression, t.repeat_interval, t.repeat_count, t.timezone, t.start_date, t.end_date, t.queue, t.priority,
    t.max_attempts)
  is distinct from (excluded.cron_expression, excluded.repeat_interval, excluded.repeat_count, excluded.timezone,
    excluded.start_date, excluded.end_date, excluded.queue, excluded.priority, excluded.max_attempts)
returning t.id
