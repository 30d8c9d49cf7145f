-- Finds running tasks at the front of the due clock: the first rows of each queue and priority.
select f.id
from pgsched.queues_in_use() as n(name)
cross join generate_series(10, 1, -1) as p(priority)
cross join lateral (
  select t.id, t.status
  from pgsched.tasks t
  where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
    and t.next_run_at <= now()
  order by t.next_run_at, t.id
  limit %(cap)s
) f
where f.status = 'running'
limit %(cap)s
