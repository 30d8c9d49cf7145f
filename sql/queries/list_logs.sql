-- The last lines that the attempts at one task logged, in the order in which they were.
select l.*
from (
  select *
  from pgsched.execution_logs
  where task_id = %(task_id)s
  order by fencing_token desc, logged_at desc
  limit %(limit)s
) l
order by l.fencing_token, l.logged_at
