-- Returns a page of matching tasks, the latest first, and how far the search went. Filters without an index inspect a
-- limited number of rows (scan), those of the given user or tenant if there is one, so that a page is quick however
-- large the table is; `scanned_to` without a task means that nothing was found so far. Returns no rows if only ids are
-- requested.
--
-- The statement is not prepared: a null filter is planned away, and so is one of the two access paths. The inner limit
-- leaves the planner no choice but to scan the ids downwards. The other path has no condition of its own: only so can
-- it read the rows in the order of their ids instead of sorting all of them.
select page.scanned_to, page.found_id,
  d.id, d.task_type, d.task_name, d.queue, d.priority, d.payload, d.metadata, d.tags, d.tenant_id, d.user_id,
  d.created_by, d.schedule_type, d.scheduled_for, d.cron_expression, d.timezone, d.start_date, d.end_date,
  d.repeat_interval, d.repeat_count, d.execution_count, d.on_missed, d.catchup_window, d.overlap, d.jitter,
  d.enabled, d.status, d.next_run_at, d.last_run_at, d.started_at, d.completed_at, d.died_at, d.attempts,
  d.max_attempts, d.backoff, d.backoff_delay, d.backoff_max, d.backoff_factor, d.backoff_jitter, d.timeout, d.locked_by,
  d.locked_until,
  d.fencing_token, d.idempotency_key, d.depends_on, d.dependency_mode, d.on_dependency_dead, d.waiting_for, d.fired,
  d.concurrency_key, d.parent_id, d.progress, d.result, d.last_error, d.planned_from, d.created_at, d.updated_at,
  d.alert_if_no_success_for, d.alert_if_running_for, d.expires_at
from (
  select reach.scanned_to, found.id as found_id
  from (
    select (
      select s.id
      from pgsched.tasks s
      where %(bounded)s::boolean and (%(before_id)s::bigint is null or s.id < %(before_id)s::bigint)
        and (%(user_id)s::text is null or s.user_id = %(user_id)s::text)
        and (%(tenant_id)s::text is null or s.tenant_id = %(tenant_id)s::text)
      order by s.id desc
      offset %(scan)s - 1
      limit 1
    ) as scanned_to
  ) reach
  left join lateral (
    select t.id
    from (
      (
        select true as is_bounded, s.id, s.task_type, s.task_name, s.queue, s.priority, s.payload, s.tags, s.tenant_id,
          s.user_id, s.created_by, s.schedule_type, s.enabled, s.status, s.next_run_at, s.started_at, s.completed_at,
          s.died_at, s.locked_by, s.idempotency_key, s.depends_on, s.concurrency_key, s.parent_id, s.last_error,
          s.created_at
        from pgsched.tasks s
        where %(bounded)s::boolean and (%(before_id)s::bigint is null or s.id < %(before_id)s::bigint)
          and (%(user_id)s::text is null or s.user_id = %(user_id)s::text)
          and (%(tenant_id)s::text is null or s.tenant_id = %(tenant_id)s::text)
        order by s.id desc
        limit %(scan)s
      )
      union all
      select false, s.id, s.task_type, s.task_name, s.queue, s.priority, s.payload, s.tags, s.tenant_id, s.user_id,
        s.created_by, s.schedule_type, s.enabled, s.status, s.next_run_at, s.started_at, s.completed_at, s.died_at,
        s.locked_by, s.idempotency_key, s.depends_on, s.concurrency_key, s.parent_id, s.last_error, s.created_at
      from pgsched.tasks s
    ) t
    where t.is_bounded = %(bounded)s::boolean and (%(before_id)s::bigint is null or t.id < %(before_id)s::bigint)
      and (%(ids)s::bigint[] is null or t.id = any(%(ids)s::bigint[]))
      and (%(queue)s::text[] is null or t.queue = any(%(queue)s::text[]))
      and (%(task_type)s::text[] is null or t.task_type = any(%(task_type)s::text[]))
      and (%(status)s::text[] is null or t.status = any(%(status)s::text[]))
      and (%(status)s::text[] is distinct from '{dead}' or t.died_at is not null)
      and (%(schedule_type)s::text[] is null or t.schedule_type = any(%(schedule_type)s::text[]))
      and (%(priority)s::integer[] is null or t.priority = any(%(priority)s::integer[]))
      and (%(tag)s::text is null or %(tag)s::text = any(t.tags))
      and (%(tenant_id)s::text is null or t.tenant_id = %(tenant_id)s::text)
      and (%(user_id)s::text is null or t.user_id = %(user_id)s::text)
      and (%(created_by)s::text is null or t.created_by = %(created_by)s::text)
      and (%(enabled)s::boolean is null or t.enabled = %(enabled)s::boolean)
      and (%(idempotency_key)s::text is null or t.idempotency_key = %(idempotency_key)s::text)
      and (%(concurrency_key)s::text is null or t.concurrency_key = %(concurrency_key)s::text)
      and (%(parent_id)s::bigint is null or t.parent_id = %(parent_id)s::bigint)
      and (%(depends_on)s::bigint is null or %(depends_on)s::bigint = any(t.depends_on))
      and (%(locked_by)s::text is null or t.locked_by::text = %(locked_by)s::text)
      and (%(name)s::text is null or strpos(lower(t.task_name), lower(%(name)s::text)) > 0)
      and (%(search)s::text is null or strpos(lower(t.payload::text), lower(%(search)s::text)) > 0)
      and (%(payload)s::text is null or t.payload::jsonb @> %(payload)s::text::jsonb)
      and (%(error)s::text is null or strpos(lower(t.last_error), lower(%(error)s::text)) > 0)
      and (%(text)s::text[] is null or not exists (
        select from unnest(%(text)s::text[]) w
        where strpos(lower(concat_ws(chr(10), t.task_type, t.task_name, t.idempotency_key, t.concurrency_key,
          array_to_string(t.tags, chr(10)), t.payload::text, t.last_error)), lower(w)) = 0))
      and (%(label)s::text[] is null or not exists (
        select from unnest(%(label)s::text[]) w
        where strpos(lower(concat_ws(chr(10), t.task_type, t.task_name, t.idempotency_key, t.concurrency_key,
          array_to_string(t.tags, chr(10)))), lower(w)) = 0))
      and (%(created_after)s::text is null or t.created_at >= %(created_after)s::text::timestamptz)
      and (%(created_before)s::text is null or t.created_at < %(created_before)s::text::timestamptz)
      and (%(due_after)s::text is null or t.next_run_at >= %(due_after)s::text::timestamptz)
      and (%(due_before)s::text is null or t.next_run_at < %(due_before)s::text::timestamptz)
      and (%(started_after)s::text is null or t.started_at >= %(started_after)s::text::timestamptz)
      and (%(started_before)s::text is null or t.started_at < %(started_before)s::text::timestamptz)
      and (%(ended_after)s::text is null
        or coalesce(t.completed_at, t.died_at) >= %(ended_after)s::text::timestamptz)
      and (%(ended_before)s::text is null
        or coalesce(t.completed_at, t.died_at) < %(ended_before)s::text::timestamptz)
    order by t.id desc
    limit %(limit)s
  ) found on true
) page
left join pgsched.tasks d on d.id = page.found_id and not %(only_ids)s::boolean
order by page.found_id desc
