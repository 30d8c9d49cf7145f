-- Returns when the next row becomes due that a claim for some task types and queues could take, or the next wait of one
-- times out.
select min(coalesce(t.next_run_at, r.wakes_at))
from pgsched.tasks t
left join pgsched.durable_runs r on r.task_id = t.id and t.status = 'blocked'
left join pgsched.queues q on q.name = t.queue
where (t.next_run_at is not null or r.wakes_at is not null) and t.enabled and t.task_type = any(%(task_types)s)
  and q.paused is not true and (t.queue = any(%(queues)s) or t.queue like any(%(patterns)s))
