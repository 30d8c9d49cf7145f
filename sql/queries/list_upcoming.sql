-- Returns a page of the tasks that will run within a time from now, the earliest first, by probes of the due clock.
select t.*
from pgsched.upcoming(%(within)s::text::interval, %(limit)s, %(queue)s::text, %(after_time)s::timestamptz,
  %(after_id)s::bigint) u
cross join lateral (select t.* from pgsched.tasks t where t.id = u.task_id offset 0) t
order by u.run_at, u.task_id
