-- Returns a page of the dead letters, the latest first, by the index of dead tasks.
select t.*
from pgsched.tasks t
where t.died_at is not null
  and (%(queue)s::text is null or t.queue = %(queue)s::text)
  and (%(task_type)s::text is null or t.task_type = %(task_type)s::text)
  and (%(before_died_at)s::timestamptz is null
    or (t.died_at <= %(before_died_at)s::timestamptz
      and (t.died_at, t.id) < (%(before_died_at)s::timestamptz, %(before_id)s::bigint)))
order by t.died_at desc, t.id desc
limit %(limit)s
