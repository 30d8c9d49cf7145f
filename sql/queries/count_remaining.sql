-- What is left of a tenant that is leaving: tasks to be moved, locked ones among them, and tasks that end here.
select count(*) filter (where movable) as movable, count(*) filter (where not movable) as staying
from (
  select t.parent_id is null and not t.observed and t.depends_on = '{}' and (t.schedule_type <> 'one_time'
      and t.status in ('pending', 'running', 'blocked')
    or t.status not in ('running', 'blocked') and t.fired is null
      and not exists (select from pgsched.tasks c where c.parent_id = t.id)
      and not exists (select from pgsched.durable_runs r where r.task_id = t.id)
      and not exists (select from pgsched.durable_events e where e.task_id = t.id and e.consumed_at is null)) as movable
  from pgsched.tasks t
  where t.tenant_id = %(tenant_id)s
) one
