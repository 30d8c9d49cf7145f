-- The rows that a claim of some task_types and queues would find now, if it could take all of them.
select t.id
from pgsched.tasks t
left join pgsched.queues q on q.name = t.queue
where t.next_run_at <= now() and t.enabled and t.task_type = any(%(task_types)s)
  and (t.locked_until is null or t.locked_until < now())
  and q.paused is not true and (t.queue = any(%(queues)s) or t.queue like any(%(patterns)s))
