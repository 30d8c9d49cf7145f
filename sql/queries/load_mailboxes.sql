-- Returns the events of some tasks that no wait has consumed, the first ones of each name, in the order in which waits
-- take them.
select e.task_id, e.tick_number, e.id, e.name, e.payload
from (
  select e.task_id, e.tick_number, e.id, e.name, e.payload::text as payload,
    row_number() over (partition by e.task_id, e.tick_number, e.name order by e.id) as place
  from pgsched.durable_events e
  where e.task_id = any(%(ids)s::bigint[]) and e.consumed_at is null
) e
where e.place <= %(most)s
order by e.id
