-- Counts due and running tasks by queue and type, and whether a live worker of the queue has a handler for the type. It
-- reads the first rows of each queue's due clock, up to a cap, rather than a whole backlog. The rows are not ordered:
-- for an order the planner would sort the backlog.
select found.queue, found.task_type, found.due, found.running, exists (
    select from pgsched.workers w
    where w.heartbeat_at > now() - 3 * w.lease
      and (found.queue = any(w.queues) or found.queue like any (w.patterns))
      and w.task_types && array[found.task_type, '*']) as handled
from (
  select n.name as queue, t.task_type::text, count(*) filter (where pgsched.is_claimable(t)) as due,
    count(*) filter (where t.locked_until >= now()) as running
  from pgsched.queues_in_use() as n(name)
  cross join lateral (
    select f.id
    from generate_series(10, 1, -1) as p(priority)
    cross join lateral (
      select t.id
      from pgsched.tasks t
      where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at <= now()
      limit %(cap)s
    ) f
    limit %(cap)s
  ) d
  join pgsched.tasks t on t.id = d.id
  group by n.name, t.task_type
) found
order by found.queue, found.task_type
