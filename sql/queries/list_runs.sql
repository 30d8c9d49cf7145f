-- Lists the last durable runs of a task that still have steps, the latest first: one index lookup for each.
with recursive runs as (
  (
    select s.began_at, s.tick_number, 1 as number
    from pgsched.durable_steps s
    where s.task_id = %(task_id)s
    order by s.began_at desc limit 1
  )
  union all
  select s.began_at, s.tick_number, r.number + 1
  from runs r
  cross join lateral (
    select o.began_at, o.tick_number
    from pgsched.durable_steps o
    where o.task_id = %(task_id)s and o.began_at < r.began_at
    order by o.began_at desc limit 1) s
  where r.number < %(limit)s
)
select r.began_at, r.tick_number from runs r order by r.began_at desc
