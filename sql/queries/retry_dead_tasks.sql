-- Gives every matching dead task its full number of attempts again. Locks the rows first, so that each is still dead
-- when it is changed; before them the groups that they are steps of, in the order in which finishes lock them. A group
-- goes on with those of its steps that match; it is retried as a whole where none does.
with found as materialized (
  select t.id, t.died_at, t.parent_id, t.fired
  from pgsched.tasks t
  where t.died_at is not null
    and (%(queue)s::text is null or t.queue = %(queue)s::text)
    and (%(task_type)s::text is null or t.task_type = %(task_type)s::text)
),
grouped as materialized (
  select pgsched.lock_steps(array(select f.id from found f where f.parent_id is not null))
),
fitting as materialized (
  select t.id
  from grouped, pgsched.tasks t
  where t.died_at is not null and t.id in (select f.id from found f)
    and not exists (select from unnest(t.fired) s join found f on f.id = s)
  order by t.died_at, t.id
  for no key update of t
)
select count(*) as number from fitting cross join lateral (select pgsched.retry(fitting.id) offset 0) retried
