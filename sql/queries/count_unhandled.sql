-- Due rows whose task_type no worker that is alive has a handler for: they wait for one that does.
select t.queue::text, t.task_type::text, count(*)
from pgsched.tasks t
where t.next_run_at is not null and t.enabled and t.next_run_at <= now() and t.status = 'pending'
  and not exists (
    select from pgsched.workers w
    where w.heartbeat_at > now() - 3 * w.lease and w.task_types @> array[t.task_type::text]
      and (w.queues @> array[t.queue::text] or t.queue like any (w.patterns)))
group by t.queue, t.task_type
