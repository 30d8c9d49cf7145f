-- Returns a page of groups and of tasks that wait for others, the latest first, by their partial index.
select t.*
from pgsched.tasks t
where (t.task_type = 'pgsched.group' or cardinality(t.depends_on) > 0)
  and (%(before_id)s::bigint is null or t.id < %(before_id)s::bigint)
order by t.id desc
limit %(limit)s
