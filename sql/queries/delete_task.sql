-- Deletes a task unless a worker holds it: one that is being claimed meanwhile is checked again once it is unlocked.
-- No row: there is no such task.
with gone as (
  delete from pgsched.tasks t where t.id = %(id)s and t.status <> 'running' returning t.id
)
select exists (select from gone) as deleted from pgsched.tasks t where t.id = %(id)s
