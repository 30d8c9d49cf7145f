-- Returns for each task on a page a mark that differs when the task has changed. The renewal of a lease, which happens
-- all the time while a task runs, does not count as a change.
select t.id,
  case when t.status = 'running' then md5((t.fencing_token, t.updated_at, t.progress)::text)
    else t.xmin::text end as mark
from pgsched.tasks t
where t.id = any(%(ids)s::bigint[])
