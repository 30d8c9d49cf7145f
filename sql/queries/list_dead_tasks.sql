-- Returns a page of the matching dead letters, the latest first, by the index of dead tasks. The statement is not
-- prepared, so a null filter is planned away.
select t.*
from pgsched.tasks t
where t.died_at is not null
  and (%(ids)s::bigint[] is null or t.id = any(%(ids)s::bigint[]))
  and (%(queue)s::text[] is null or t.queue = any(%(queue)s::text[]))
  and (%(task_type)s::text[] is null or t.task_type = any(%(task_type)s::text[]))
  and (%(status)s::text[] is null or t.status = any(%(status)s::text[]))
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
    or t.died_at >= %(ended_after)s::text::timestamptz)
  and (%(ended_before)s::text is null
    or t.died_at < %(ended_before)s::text::timestamptz)
  and (%(before_died_at)s::timestamptz is null
    or (t.died_at <= %(before_died_at)s::timestamptz
      and (t.died_at, t.id) < (%(before_died_at)s::timestamptz, %(before_id)s::bigint)))
order by t.died_at desc, t.id desc
limit %(limit)s
