-- Returns the creation contexts of claimed tasks, for a worker with tracing: from the task's metadata; for a step of a
-- group without one, from the group; otherwise from the first dependency that has one. Also returns whether the task is
-- a tick of a schedule, and then the trace of a failed attempt at the same tick.
select t.id, c.context ->> 'traceparent', c.context ->> 'tracestate', c.context ->> 'baggage',
  t.schedule_type <> 'one_time' or coalesce(p.schedule_type <> 'one_time' and (p.task_type <> 'pgsched.group'
    -- A step created by a worker without tracing has the context of the schedule, not that of its tick.
    or t.metadata ->> 'traceparent' is not distinct from p.metadata ->> 'traceparent'), false),
  e.traceparent
from unnest(%(ids)s::bigint[]) as i(id)
join pgsched.tasks t on t.id = any(array[i.id])
left join pgsched.tasks p on p.id = any(array[t.parent_id])
left join lateral (
  select found.context
  from (
    select 0 as place, t.metadata::jsonb as context
    union all
    select 1, p.metadata::jsonb where p.task_type = 'pgsched.group' and p.schedule_type = 'one_time'
    union all
    select d.place::integer + 1, u.metadata::jsonb
    from unnest(t.depends_on) with ordinality as d(id, place)
    join pgsched.tasks u on u.id = any(array[d.id])
  ) found
  where found.context ? 'traceparent'
  order by found.place
  limit 1
) c on true
left join lateral (
  select l.fields ->> 'traceparent' as traceparent
  from pgsched.execution_logs l
  join pgsched.executions x on x.task_id = l.task_id and x.fencing_token = l.fencing_token
  where t.attempts > 1 and l.task_id = t.id and l.message = 'trace' and x.scheduled_for = t.scheduled_for
  order by l.fencing_token desc
  limit 1
) e on true
