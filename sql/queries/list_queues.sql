-- Lists every queue that has settings, tasks or a worker, with counts from the partial indexes: waiting rows by an
-- index-only count, due rows by a probe per queue and priority, dead rows by their own index.
with waiting as (
  select t.queue as name, count(*) as number
  from pgsched.tasks t
  where t.next_run_at is not null and t.enabled
  group by t.queue
),
dead as (
  select t.queue as name, count(*) as number
  from pgsched.tasks t
  where t.died_at is not null
  group by t.queue
),
names as (
  select name::text from pgsched.queues
  union select name from waiting
  union select name from dead
  union select unnest(w.queues) from pgsched.workers w
)
select names.name, coalesce(q.paused, false) as paused, coalesce(q.ordering, 'fifo') as ordering,
  coalesce(q.limits, '{}') as limits, q.ageing,
  coalesce(waiting.number, 0) - now_due.running as pending, now_due.due, now_due.running,
  coalesce(dead.number, 0) as dead,
  extract(epoch from now() - now_due.oldest)::float8 as oldest_due_seconds
from names
left join pgsched.queues q on q.name = names.name
left join waiting on waiting.name = names.name
left join dead on dead.name = names.name
cross join lateral (
  select count(*) filter (where pgsched.is_claimable(t)) as due,
    count(*) filter (where t.locked_until >= now()) as running,
    min(t.next_run_at) filter (where pgsched.is_claimable(t)) as oldest
  from generate_series(1, 10) as p(priority)
  join pgsched.tasks t on t.queue = names.name and t.priority = p.priority
    and t.next_run_at is not null and t.enabled and t.next_run_at <= now()
) now_due
order by names.name
