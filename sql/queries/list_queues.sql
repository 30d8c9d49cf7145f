-- Lists every queue that has settings, tasks or a worker. Numbers are counted from the partial indexes up to a cap:
-- %(entries)s waiting or dead rows by the index alone, and the first %(front)s due or running rows of each priority,
-- which are read. What is full is estimated from the planner's statistics instead, and `estimated` names it.
with recursive dead_in(name) as (
  (select t.queue::text from pgsched.tasks t where t.died_at is not null order by t.queue limit 1)
  union all
  select (
    select t.queue::text from pgsched.tasks t
    where t.died_at is not null and t.queue > d.name order by t.queue limit 1)
  from dead_in d
  where d.name is not null
),
names as (
  select name::text from pgsched.queues
  union select name from pgsched.queues_in_use() as used(name)
  union select name from dead_in where name is not null
  union select unnest(w.queues) from pgsched.workers w
)
select n.name, coalesce(q.paused, false) as paused, coalesce(q.ordering, 'fifo') as ordering,
  coalesce(q.limits, '{}') as limits, q.ageing, greatest(held.number - ready.running, 0) as pending, ready.due,
  ready.running, died.number as dead, extract(epoch from now() - oldest.at)::float8 as oldest_due_seconds,
  array_remove(array[
    case when held.is_full or ready.is_full then 'pending' end, case when ready.is_full then 'due' end,
    case when ready.is_full then 'running' end, case when died.is_full then 'dead' end], null) as estimated
from names n
left join pgsched.queues q on q.name = n.name
cross join lateral (
  select c.number = %(entries)s as is_full, case when c.number < %(entries)s then c.number else greatest(
    c.number, pgsched.about_rows(
      format('t.next_run_at is not null and t.enabled and t.queue = %%L', n.name))) end as number
  from (
    select count(*) as number
    from (select from pgsched.tasks t
          where t.queue = n.name and t.next_run_at is not null and t.enabled limit %(entries)s) one
  ) c
) held
cross join lateral (
  select c.number = %(entries)s as is_full, case when c.number < %(entries)s then c.number else greatest(
    c.number, pgsched.about_rows(format('t.died_at is not null and t.queue = %%L', n.name))) end as number
  from (
    select count(*) as number
    from (select from pgsched.tasks t where t.queue = n.name and t.died_at is not null limit %(entries)s) one
  ) c
) died
cross join lateral (
  select c.is_full, c.running, case when not c.is_full then c.due else greatest(
    c.due, pgsched.about_rows(format(
      't.next_run_at <= now() and t.enabled and t.queue = %%L', n.name)) - c.running) end as due
  from (
    select coalesce(sum(p.due), 0)::bigint as due, coalesce(sum(p.running), 0)::bigint as running,
      coalesce(bool_or(p.seen = %(front)s), false) as is_full
    from generate_series(10, 1, -1) as r(priority)
    cross join lateral (
      select count(*) as seen, count(*) filter (where front.claimable) as due,
        count(*) filter (where front.locked_until >= now()) as running
      from (
        select pgsched.is_claimable(t) as claimable, t.locked_until
        from pgsched.tasks t
        where t.queue = n.name and t.priority = r.priority and t.next_run_at is not null and t.enabled
          and t.next_run_at <= now()
        order by t.next_run_at, t.id
        limit %(front)s
      ) front
    ) p
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
