-- Counts the snoozed attempts at a task (cancelled, with attempt 0) since the last attempt that counted.
select count(*)
from pgsched.executions e
where e.task_id = %(id)s and e.status = 'cancelled' and e.attempt = 0
  and e.fencing_token > coalesce((
    select max(c.fencing_token) from pgsched.executions c where c.task_id = %(id)s and c.attempt > 0), 0)
