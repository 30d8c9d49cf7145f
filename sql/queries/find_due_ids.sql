-- Finds every row that a claim for some task types and queues could take now.
select t.id
from pgsched.tasks t
left join pgsched.queues q on q.name = t.queue
where pgsched.is_claimable(t) and t.task_type = any(%(task_types)s)
  and q.paused is not true and (t.queue = any(%(queues)s) or t.queue like any(%(patterns)s))
