-- What is due and can be claimed, of a type that no live worker of its queue has a handler for.
select t.queue, t.task_type, count(*) as due
from pgsched.tasks t
where t.next_run_at is not null and t.enabled and t.next_run_at <= now()
  and (t.locked_until is null or t.locked_until < now())
group by t.queue, t.task_type
having not exists (
  select from pgsched.workers w
  where w.heartbeat_at > now() - 3 * w.lease and (t.queue = any(w.queues) or t.queue like any (w.patterns))
    and t.task_type = any(w.task_types))
order by due desc, t.queue, t.task_type
