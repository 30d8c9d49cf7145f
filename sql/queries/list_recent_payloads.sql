-- Lists the last tasks of a type, among the rows that were created last.
select r.id, r.task_name, r.status, r.created_at
from (select * from pgsched.tasks t order by t.id desc limit %(most)s) r
where r.task_type = %(task_type)s::text
order by r.id desc
limit %(limit)s
