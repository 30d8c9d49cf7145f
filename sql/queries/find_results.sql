-- Returns the results of a task's dependencies, in the order in which it names them, for its handler. A dependency that
-- has left the table is in the history. A schedule that a task follows (dependency_mode each) may have run other ticks
-- since: its result is the result of the tick, from the history.
with tick as (
  select f.scheduled_for as at, f.created_at as made_at
  from pgsched.tasks f
  join pgsched.tasks p on p.id = f.parent_id and p.dependency_mode = 'each' and p.depends_on = f.depends_on
  where f.id = %(task_id)s and f.idempotency_key like 'tick:%%'
)
select d.id, coalesce(t.task_name, e.task_name),
  case when tick.at is null then coalesce(t.result, e.result) else (
    select x.result
    from pgsched.executions x
    where x.task_id = d.id and x.scheduled_for = tick.at and x.status = 'completed'
      -- Limits the scan to few partitions.
      and x.started_at between tick.at - interval '1 hour' and tick.made_at + interval '1 hour'
    order by x.fencing_token desc
    limit 1) end
from unnest(%(ids)s::bigint[]) with ordinality as d(id, place)
left join tick on true
left join pgsched.tasks t on t.id = any(array[d.id])
left join lateral (
  select x.task_id as id, x.task ->> 'task_name' as task_name, x.result
  from pgsched.executions x
  where t.id is null and x.task_id = d.id and x.task is not null
  order by x.fencing_token desc
  limit 1
) e on true
where t.id is not null or e.id is not null
order by d.place
