-- Returns the results of the tasks that one depends on, in the order in which it names them, for its handler.
select t.id, t.task_name::text, t.result
from unnest(%(ids)s::bigint[]) with ordinality as d(id, place)
join pgsched.tasks t on t.id = any(array[d.id])
order by d.place
