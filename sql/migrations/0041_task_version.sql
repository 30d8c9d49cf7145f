-- Works with programs of version 12 of the schema and later.
--
-- The version of a task: what an edit compares, so that it does not undo an edit that somebody made meanwhile. Nothing
-- is stored, and nothing is computed unless somebody asks.

create function pgsched.version_of(task jsonb) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres' set extra_float_digits = 1 as $$
-- The columns that an edit may set, and no other. The tick of a schedule is left out, as workers set it.
select left(encode(sha256(convert_to(row(
  t.task_name, t.queue, t.priority, t.payload, t.metadata, t.tags, t.tenant_id, t.user_id, t.created_by,
  case when t.schedule_type = 'one_time' then t.scheduled_for end, t.cron_expression, t.timezone, t.start_date,
  t.end_date, t.repeat_interval, t.repeat_count, t.on_missed, t.catchup_window, t.overlap, t.jitter, t.enabled,
  t.max_attempts, t.backoff, t.backoff_delay, t.backoff_max, t.backoff_factor, t.backoff_jitter, t.timeout,
  t.idempotency_key, t.parent_id, t.depends_on, t.dependency_mode, t.on_dependency_dead, t.concurrency_key,
  t.alert_if_no_success_for, t.alert_if_running_for, t.expires_at)::text, 'UTF8')), 'hex'), 16)
from jsonb_populate_record(null::pgsched.tasks, task) t
$$;
comment on function pgsched.version_of(jsonb) is
  'The version of a task: another one after each edit, the same whatever workers do with it.
task: The row, as to_jsonb(t).';
