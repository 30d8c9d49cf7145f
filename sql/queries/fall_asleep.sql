-- Publishes how long this worker sleeps, so that an insert that is due earlier sends a NOTIFY. Returns the seconds
-- until the earliest row that is not due yet, at most %(longest)s, by one index probe per queue and priority.
with earliest as (
  select min(due.next_run_at) as at
  from unnest(%(queues)s::text[]) as q(name)
  cross join generate_series(1, 10) as p(priority)
  cross join lateral (
    select t.next_run_at
    from pgsched.tasks t
    where t.queue = q.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
      and t.next_run_at > now()
    order by t.next_run_at
    limit 1
  ) due
)
update pgsched.workers w
set sleeping_until = least(earliest.at, now() + %(longest)s::float8 * interval '1 second')
from earliest
where w.id = %(worker)s
returning extract(epoch from w.sleeping_until - now())::float8
