-- Inserts a schedule declared in code, or updates it when the declaration has changed. While the declaration stays the
-- same the row is not written, so that workers that start together write it once and an operator's edits persist.
-- `was_edited` says whether the row differed from the previous declaration.
with wanted as (
  select pgsched.resolved(jsonb_populate_record(null::pgsched.tasks,
    '{"payload": {}, "enabled": true}'::jsonb || %(declaration)s::jsonb)) as task
),
present as (
  select t.id, t.declared,
    -- If the code declares no start, the derived one is not an edit.
    case when t.declared ->> 'start_date' is null then pgsched.declaration(t) || '{"start_date": null}'
      else pgsched.declaration(t) end || jsonb_strip_nulls(jsonb_build_object(
        'concurrency_key', t.concurrency_key,
        'alert_if_no_success_for', pgsched.interval_parts(t.alert_if_no_success_for),
        'alert_if_running_for', pgsched.interval_parts(t.alert_if_running_for)))
      as declaration
  from pgsched.tasks t join wanted on t.idempotency_key = (wanted.task).idempotency_key
),
written as (
  insert into pgsched.tasks as t (
    task_type, task_name, queue, priority, payload, metadata, tags, tenant_id, user_id, created_by, cron_expression,
    timezone, start_date, end_date, repeat_interval, repeat_count, on_missed, catchup_window, overlap, jitter, enabled,
    max_attempts, backoff, backoff_delay, backoff_max, backoff_factor, backoff_jitter, timeout, idempotency_key,
    concurrency_key, alert_if_no_success_for, alert_if_running_for, declared)
  select (task).task_type, (task).task_name, (task).queue, (task).priority, (task).payload, (task).metadata,
    (task).tags, (task).tenant_id, (task).user_id, (task).created_by, (task).cron_expression, (task).timezone,
    (task).start_date, (task).end_date, (task).repeat_interval, (task).repeat_count, (task).on_missed,
    (task).catchup_window, (task).overlap, (task).jitter, (task).enabled, (task).max_attempts, (task).backoff,
    (task).backoff_delay, (task).backoff_max, (task).backoff_factor, (task).backoff_jitter, (task).timeout,
    (task).idempotency_key, (task).concurrency_key, (task).alert_if_no_success_for, (task).alert_if_running_for,
    pgsched.declaration(task) || jsonb_strip_nulls(jsonb_build_object(
        'concurrency_key', (task).concurrency_key,
        'alert_if_no_success_for', pgsched.interval_parts((task).alert_if_no_success_for),
        'alert_if_running_for', pgsched.interval_parts((task).alert_if_running_for)))
  from wanted
  on conflict (idempotency_key) where idempotency_key is not null do update
  set task_type = excluded.task_type, task_name = excluded.task_name, queue = excluded.queue,
    priority = excluded.priority, payload = excluded.payload, metadata = excluded.metadata, tags = excluded.tags,
    tenant_id = excluded.tenant_id, user_id = excluded.user_id, cron_expression = excluded.cron_expression,
    timezone = excluded.timezone, start_date = coalesce((select (task).start_date from wanted), t.start_date),
    end_date = excluded.end_date, repeat_interval = excluded.repeat_interval, repeat_count = excluded.repeat_count,
    on_missed = excluded.on_missed, catchup_window = excluded.catchup_window, overlap = excluded.overlap,
    jitter = excluded.jitter, max_attempts = excluded.max_attempts, backoff = excluded.backoff,
    backoff_delay = excluded.backoff_delay, backoff_max = excluded.backoff_max,
    backoff_factor = excluded.backoff_factor, backoff_jitter = excluded.backoff_jitter, timeout = excluded.timeout,
    concurrency_key = excluded.concurrency_key, alert_if_no_success_for = excluded.alert_if_no_success_for,
    alert_if_running_for = excluded.alert_if_running_for,
    -- A schedule that was retired (disable_declared) restarts, without the ticks that passed meanwhile.
    planned_from = case when t.declared is null and not t.enabled then clock_timestamp() else t.planned_from end,
    enabled = case when t.declared is null then excluded.enabled else t.enabled end, declared = excluded.declared
  where t.declared is distinct from excluded.declared
  returning t.id
)
select
  case
    when not exists (select from written) then 'unchanged'
    when present.id is null then 'added'
    else 'changed' end as outcome,
  coalesce(present.declared <> present.declaration, false) as was_edited
from wanted left join present on true
