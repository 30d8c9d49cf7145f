-- Gives every matching dead task its full number of attempts again. Locks the rows first, so that each is still dead
-- when it is changed.
with fitting as materialized (
  select t.id
  from pgsched.tasks t
  where t.died_at is not null
    and (%(queue)s::text is null or t.queue = %(queue)s::text)
    and (%(task_type)s::text is null or t.task_type = %(task_type)s::text)
  order by t.died_at, t.id
  for no key update
)
select count(*) as number from fitting cross join lateral (select pgsched.retry(fitting.id) offset 0) retried
