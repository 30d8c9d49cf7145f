-- Lists the running tasks, of all workers or of one, with their workers and progress, the longest first, from the front
-- of the due clock of each queue and priority, where they are.
select f.id, f.task_type, f.queue, f.attempts as attempt, f.max_attempts, f.progress, w.hostname, w.pid,
  extract(epoch from clock_timestamp() - f.started_at)::float8 as seconds, f.locked_by as worker_id, f.started_at
from pgsched.queues_in_use() as n(name)
cross join generate_series(10, 1, -1) as p(priority)
cross join lateral (
  select t.id, t.task_type::text, t.queue::text, t.attempts::int, t.max_attempts::int, t.progress, t.status::text,
    t.started_at,
    t.locked_by, t.locked_until
  from pgsched.tasks t
  where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
    and t.next_run_at <= now()
  order by t.next_run_at, t.id
  limit %(cap)s
) f
left join pgsched.workers w on w.id = f.locked_by
where f.status = 'running' and f.locked_until >= now() and (%(worker)s::uuid is null or f.locked_by = %(worker)s::uuid)
order by f.started_at, f.id
limit %(limit)s
