-- Changes the given columns of a task and leaves the others: the triggers plan an edited schedule afresh and wake who
-- sleeps. `found` without `changed`: a nominal time was given to a task that has a schedule.
with present as (
  select t.id, t.schedule_type::text, jsonb_populate_record(t, %(changes)s::jsonb) as wanted
  from pgsched.tasks t
  where t.id = %(id)s
  for no key update
),
changed as (
  update pgsched.tasks t
  set task_name = (wanted).task_name, queue = (wanted).queue, priority = (wanted).priority, payload = (wanted).payload,
    metadata = (wanted).metadata, tags = (wanted).tags, tenant_id = (wanted).tenant_id, user_id = (wanted).user_id,
    created_by = (wanted).created_by, scheduled_for = coalesce(now() + %(delay)s::interval, (wanted).scheduled_for),
    cron_expression = (wanted).cron_expression, timezone = (wanted).timezone, start_date = (wanted).start_date,
    end_date = (wanted).end_date, repeat_interval = (wanted).repeat_interval, repeat_count = (wanted).repeat_count,
    on_missed = (wanted).on_missed, catchup_window = (wanted).catchup_window, overlap = (wanted).overlap,
    jitter = (wanted).jitter, enabled = (wanted).enabled, max_attempts = (wanted).max_attempts,
    backoff = (wanted).backoff, backoff_delay = (wanted).backoff_delay, backoff_max = (wanted).backoff_max,
    timeout = (wanted).timeout, idempotency_key = (wanted).idempotency_key, parent_id = (wanted).parent_id,
    depends_on = (wanted).depends_on, dependency_mode = (wanted).dependency_mode,
    on_dependency_dead = (wanted).on_dependency_dead, concurrency_key = (wanted).concurrency_key
  from present
  where t.id = present.id and not (%(moves)s and present.schedule_type <> 'one_time')
  returning t.id
)
select present.schedule_type, exists (select from changed) as changed from present
