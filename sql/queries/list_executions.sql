-- The attempts at one task, the latest first; they outlive the task.
select e.*
from pgsched.executions e
where e.task_id = %(task_id)s
order by e.fencing_token desc, e.started_at desc
limit %(limit)s
