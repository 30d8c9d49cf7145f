-- Finds the types of due tasks in the queues of a worker with a catch-all handler that no other live worker of any of
-- these queues has a handler for, and those previously known as such that still lack one. Reads the first rows of each
-- due clock, up to a cap, rather than a whole backlog. pgsched's own types are never caught.
select c.task_type
from (
  select distinct t.task_type::text as task_type
  from unnest(%(queues)s::text[]) as n(name)
  cross join generate_series(10, 1, -1) as p(priority)
  cross join lateral (
    select t.task_type
    from pgsched.tasks t
    where t.queue = n.name and t.priority = p.priority and pgsched.is_claimable(t)
      and t.task_type <> all(%(task_types)s::text[])
    limit %(cap)s
  ) t
  union
  select k from unnest(%(known)s::text[]) as k
) c
where c.task_type not like 'pgsched.%%' and not exists (
  select from pgsched.workers w
  where w.id <> %(worker)s and w.heartbeat_at > now() - 3 * w.lease and w.task_types @> array[c.task_type]
    and exists (
      select from unnest(%(queues)s::text[]) as n(name)
      where w.queues @> array[n.name] or n.name like any (w.patterns)))
order by c.task_type
