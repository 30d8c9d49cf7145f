-- Returns the events of some tasks that no wait has consumed, in the order in which waits take them.
select e.task_id, e.tick_number, e.id, e.name, e.payload::text as payload
from pgsched.durable_events e
where e.task_id = any(%(ids)s::bigint[]) and e.consumed_at is null
order by e.id
