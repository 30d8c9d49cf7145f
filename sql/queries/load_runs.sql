-- Returns the durable runs of some tasks with the records of each, in the order in which they started.
select r.task_id, r.tick_number, r.began_at, r.code_version, s.name, s.key, s.kind, s.status, s.attempts,
  s.result::text as result, s.error, s.child_id, s.wakes_at, s.started_at
from pgsched.durable_runs r
left join lateral (
  select s.*
  from pgsched.durable_steps s
  where s.task_id = r.task_id and s.began_at = r.began_at
  order by s.started_at
  offset 0
) s on true
where r.task_id = any(%(ids)s::bigint[])
