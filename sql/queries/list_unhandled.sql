-- Counts the claimable tasks whose type no live worker of their queue has a handler for.
select t.queue, t.task_type, count(*) as due
from pgsched.tasks t
where pgsched.is_claimable(t)
group by t.queue, t.task_type
having not exists (
  select from pgsched.workers w
  where w.heartbeat_at > now() - 3 * w.lease and (t.queue = any(w.queues) or t.queue like any (w.patterns))
    and w.task_types && array[t.task_type::text, '*'])
order by due desc, t.queue, t.task_type
