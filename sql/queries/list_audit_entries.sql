-- A page of the audit log, the latest first, of one task or of all.
select id, at, actor, role, remote, action, task_id, queue, target, before, after
from pgsched.audit_log
where (%(task_id)s::bigint is null or task_id = %(task_id)s)
  and (%(before_id)s::bigint is null or id < %(before_id)s)
order by id desc
limit %(limit)s
