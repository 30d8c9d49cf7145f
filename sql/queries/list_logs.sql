-- Lists a page of the log lines of the attempts at one task, in the order in which they were logged: the last ones, or
-- those before a position. Of the lines at exactly that instant, those already shown are left out.
select l.task_id, l.fencing_token, l.attempt, l.logged_at, l.level, l.message, l.fields
from (
  select e.*, e.ctid as place
  from pgsched.execution_logs e
  where e.task_id = %(task_id)s
    and (%(token)s::bigint is null
      or (e.fencing_token, e.logged_at) <= (%(token)s::bigint, %(at)s::timestamptz))
    and (%(levels)s::text[] is null or e.level = any(%(levels)s::text[]))
  order by e.fencing_token desc, e.logged_at desc, e.ctid desc
  limit %(limit)s offset %(shown)s
) l
order by l.fencing_token, l.logged_at, l.place
