-- Deletes a task unless a worker holds it. A row that is being claimed at this moment is checked again once it is
-- unlocked. Returns no row when there is no such task.
with gone as (
  delete from pgsched.tasks t where t.id = %(id)s and t.status <> 'running' returning t.id
)
select exists (select from gone) as deleted from pgsched.tasks t where t.id = %(id)s
