-- Lists the last log lines of the attempts at one task, in the order in which they were logged.
select l.*
from (
  select *
  from pgsched.execution_logs
  where task_id = %(task_id)s
  order by fencing_token desc, logged_at desc
  limit %(limit)s
) l
order by l.fencing_token, l.logged_at
