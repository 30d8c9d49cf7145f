-- Returns the state of a task for a caller that waits for its end. For a schedule also the first tick completed since
-- the wait started: by the row itself with a later claim than `token`, or, where ticks may overlap, by a child after
-- `since`, as for a task that follows a schedule. Both are null at first; the values for the next call are returned as
-- next_token and next_since.
select t.status::text as status, t.schedule_type <> 'one_time' or t.dependency_mode = 'each' as is_schedule, t.result,
  t.last_error,
  coalesce(%(token)s::bigint, t.fencing_token - (t.status = 'running')::integer) as next_token,
  coalesce(%(since)s::timestamptz, now()) as next_since,
  tick.result as tick_result, tick.result_of is not null as ticked
from pgsched.known_tasks t
left join lateral (
  (select e.result, e.task_id as result_of
   from pgsched.visible_executions e
   where t.schedule_type <> 'one_time' and e.task_id = t.id and e.fencing_token > %(token)s and e.status = 'completed'
   order by e.fencing_token
   limit 1)
  union all
  (select c.result, c.id
   from pgsched.visible_tasks c
   where (t.overlap = 'allow' or t.dependency_mode = 'each') and c.parent_id = t.id
     and c.idempotency_key like 'tick:%%' and c.status = 'completed' and c.completed_at >= %(since)s
   order by c.completed_at
   limit 1)
  limit 1
) tick on true
where t.id = %(id)s
limit 1
