-- The attempts at one task, the latest first; they outlive the task.
select e.*
from pgsched.visible_executions e
where e.task_id = %(task_id)s
  and (%(before_token)s::bigint is null
    or (e.fencing_token, e.started_at) < (%(before_token)s::bigint, %(before_started_at)s::timestamptz))
order by e.fencing_token desc, e.started_at desc
limit %(limit)s
