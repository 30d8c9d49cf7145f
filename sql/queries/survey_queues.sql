-- Lists every queue with its settings, the number of its waiting and of its due or running rows (up to a cap), and the
-- age of its oldest due row.
with names as (
  select name from pgsched.queues_in_use() as used(name)
  union select name::text from pgsched.queues
  union select unnest(w.queues) from pgsched.workers w
)
select n.name, coalesce(q.paused, false) as paused, coalesce(q.ordering, 'fifo') as ordering,
  coalesce(q.limits, '{}') as limits, q.ageing, held.number as waiting, ready.number as ready,
  extract(epoch from now() - oldest.at)::float8 as oldest_due_seconds
from names n
left join pgsched.queues q on q.name = n.name
cross join lateral (
  select count(*) as number
  from (select from pgsched.tasks t
        where t.queue = n.name and t.next_run_at is not null and t.enabled limit %(cap)s) c
) held
cross join lateral (
  select count(*) as number
  from (
    select r.one
    from generate_series(10, 1, -1) as p(priority)
    cross join lateral (
      select 1 as one
      from pgsched.tasks t
      where t.queue = n.name and t.priority = p.priority and t.next_run_at is not null and t.enabled
        and t.next_run_at <= now()
      limit %(cap)s
    ) r
    limit %(cap)s
  ) c
) ready
cross join lateral (
  select min(first.next_run_at) as at
  from generate_series(1, 10) as p(priority)
  cross join lateral (
    select t.next_run_at
    from pgsched.tasks t
    where t.queue = n.name and t.priority = p.priority and pgsched.is_claimable(t)
    order by t.next_run_at, t.id
    limit 1
  ) first
) oldest
order by n.name
