-- Returns a page of the dead letters, the latest first, by the index of dead tasks.
select t.*
from pgsched.tasks t
where t.died_at is not null
  and (%(queue)s::text is null or t.queue = %(queue)s::text)
  and (%(task_type)s::text is null or t.task_type = %(task_type)s::text)
  and (%(tenant_id)s::text is null or t.tenant_id = %(tenant_id)s::text)
  and (%(user_id)s::text is null or t.user_id = %(user_id)s::text)
  and (%(created_by)s::text is null or t.created_by = %(created_by)s::text)
  and (%(name)s::text is null or strpos(lower(t.task_name), lower(%(name)s::text)) > 0)
  and (%(ended_after)s::text is null or t.died_at >= %(ended_after)s::text::timestamptz)
  and (%(ended_before)s::text is null or t.died_at < %(ended_before)s::text::timestamptz)
  and (%(before_died_at)s::timestamptz is null
    or (t.died_at <= %(before_died_at)s::timestamptz
      and (t.died_at, t.id) < (%(before_died_at)s::timestamptz, %(before_id)s::bigint)))
order by t.died_at desc, t.id desc
limit %(limit)s
