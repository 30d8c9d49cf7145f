-- Returns the results of the tasks that one depends on, in the order in which it names them, for its handler. One that
-- has left the table is in the history.
select d.id, coalesce(t.task_name, e.task_name), coalesce(t.result, e.result)
from unnest(%(ids)s::bigint[]) with ordinality as d(id, place)
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
