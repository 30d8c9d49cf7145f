-- Changes the given columns of a task and keeps the others; triggers rebook an edited schedule and wake sleeping
-- workers. Not `changed` means that a nominal time was given to a task that has a schedule or is cancelled, and would
-- not run, or that the task's version differs from the given one, if any. The version is read from the locked row, so
-- nothing comes between the comparison and the change.
with present as (
  select t.id, t.schedule_type::text, t.status::text, jsonb_populate_record(t, %(changes)s::jsonb) as wanted,
    case when %(version)s::text is null then null else pgsched.version_of(to_jsonb(t)) end as version
  from pgsched.tasks t
  where t.id = %(id)s
  for no key update
),
changed as (
  update pgsched.tasks t
  set task_name = (present.wanted).task_name, queue = (present.wanted).queue, priority = (present.wanted).priority,
    payload = (present.wanted).payload, metadata = (present.wanted).metadata, tags = (present.wanted).tags,
    tenant_id = (present.wanted).tenant_id,
    user_id = (present.wanted).user_id,
    created_by = (present.wanted).created_by, scheduled_for = coalesce(
      (now() at time zone interval '0' + %(delay)s::interval) at time zone interval '0',
      (present.wanted).scheduled_for),
    cron_expression = (present.wanted).cron_expression, timezone = (present.wanted).timezone,
    start_date = (present.wanted).start_date, end_date = (present.wanted).end_date,
    repeat_interval = (present.wanted).repeat_interval, repeat_count = (present.wanted).repeat_count,
    on_missed = (present.wanted).on_missed, catchup_window = (present.wanted).catchup_window,
    overlap = (present.wanted).overlap, jitter = (present.wanted).jitter, enabled = (present.wanted).enabled,
    max_attempts = (present.wanted).max_attempts, backoff = (present.wanted).backoff,
    backoff_delay = (present.wanted).backoff_delay, backoff_max = (present.wanted).backoff_max,
    backoff_factor = (present.wanted).backoff_factor, backoff_jitter = (present.wanted).backoff_jitter,
    timeout = (present.wanted).timeout, idempotency_key = (present.wanted).idempotency_key,
    parent_id = (present.wanted).parent_id,
    depends_on = (present.wanted).depends_on, dependency_mode = (present.wanted).dependency_mode,
    on_dependency_dead = (present.wanted).on_dependency_dead, concurrency_key = (present.wanted).concurrency_key,
    alert_if_no_success_for = (present.wanted).alert_if_no_success_for,
    alert_if_running_for = (present.wanted).alert_if_running_for, expires_at = (present.wanted).expires_at
  from present
  where t.id = present.id and (present.schedule_type = 'one_time' or not (%(moves)s or present.status = 'cancelled'))
    and present.version is not distinct from %(version)s::text
  returning t.id
)
select present.schedule_type, present.status, present.version, exists (select from changed) as changed from present
