-- The results of the tasks that one depends on, for its handler; in the order in which they are named.
select t.id, t.task_name::text, t.result
from unnest(%(ids)s::bigint[]) with ordinality as d(id, place)
join pgsched.tasks t on t.id = any(array[d.id])
order by d.place
