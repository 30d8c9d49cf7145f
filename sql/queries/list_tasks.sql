-- Returns a page of tasks, the latest first. The statement is not prepared, so a filter that is null is planned away.
-- Dead tasks are found by their index.
select t.*
from pgsched.tasks t
where (%(queue)s::text is null or t.queue = %(queue)s::text)
  and (%(task_type)s::text is null or t.task_type = %(task_type)s::text)
  and (%(status)s::text is null or t.status = %(status)s::text)
  and (%(status)s::text is distinct from 'dead' or t.died_at is not null)
  and (%(schedule_type)s::text is null or t.schedule_type = %(schedule_type)s::text)
  and (%(tag)s::text is null or %(tag)s::text = any(t.tags))
  and (%(tenant_id)s::text is null or t.tenant_id = %(tenant_id)s::text)
  and (%(user_id)s::text is null or t.user_id = %(user_id)s::text)
  and (%(created_by)s::text is null or t.created_by = %(created_by)s::text)
  and (%(idempotency_key)s::text is null or t.idempotency_key = %(idempotency_key)s::text)
  and (%(name)s::text is null or strpos(lower(t.task_name), lower(%(name)s::text)) > 0)
  and (%(created_after)s::text is null or t.created_at >= %(created_after)s::text::timestamptz)
  and (%(created_before)s::text is null or t.created_at < %(created_before)s::text::timestamptz)
  and (%(parent_id)s::bigint is null or t.parent_id = %(parent_id)s::bigint)
  and (%(before_id)s::bigint is null or t.id < %(before_id)s::bigint)
order by t.id desc
limit %(limit)s
