-- Returns the state of those children for which some durable runs wait and which have ended. A child that no longer
-- exists was deleted.
select s.task_id, s.child_id, coalesce(c.status::text, 'deleted') as status, c.result::text as result, c.last_error
from pgsched.durable_runs r
join pgsched.durable_steps s on s.task_id = r.task_id and s.began_at = r.began_at
left join pgsched.tasks c on c.id = any(array[s.child_id])
where r.task_id = any(%(ids)s::bigint[]) and s.kind = 'child' and s.status = 'waiting'
  and (c.id is null or c.status in ('completed', 'dead', 'cancelled'))
