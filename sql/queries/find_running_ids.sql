-- The tasks that run, by the due clock: they stand at its front. Of each queue and priority the first rows only.
with recursive waiting(name) as (
  (select t.queue::text from pgsched.tasks t
   where t.next_run_at is not null and t.enabled order by t.queue limit 1)
  union all
  select (select t.queue::text from pgsched.tasks t
          where t.next_run_at is not null and t.enabled and t.queue > w.name order by t.queue limit 1)
  from waiting w
  where w.name is not null
)
select f.id
from waiting n
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
