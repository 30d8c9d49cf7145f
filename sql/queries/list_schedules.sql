-- Returns a page of the schedules, the latest first, by their partial index.
select t.*
from pgsched.tasks t
where t.schedule_type <> 'one_time'
  and (%(before_id)s::bigint is null or t.id < %(before_id)s::bigint)
  and (%(queue)s::text is null or t.queue = %(queue)s::text)
  and (%(search)s::text is null or strpos(
    lower(concat_ws(' ', t.task_type, t.task_name, t.cron_expression, t.idempotency_key)), lower(%(search)s::text)) > 0)
order by t.id desc
limit %(limit)s
