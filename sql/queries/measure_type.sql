-- Returns the duration that a share of the latest attempts of a task type stayed within, in seconds; null when there
-- are too few. The history has no index by type, so only its last rows are read: two days of them, up to a limit.
select (percentile_disc(%(share)s::float8) within group (order by f.duration_ms) / 1000)::float8
from (
  select e.duration_ms
  from (
    select r.task_type, r.status, r.duration_ms from pgsched.executions r
    where r.started_at > now() - interval '2 days' and r.finished_at > now() - interval '2 days'
    limit %(cap)s
  ) e
  where e.task_type = %(task_type)s and e.status = 'completed'
  limit 1000
) f
having count(*) >= %(enough)s
