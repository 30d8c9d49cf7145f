-- Takes tasks of a tenant that is leaving from pgsched.tasks, so that nobody runs them here, and keeps them for the
-- move. Not those that run, and not those that belong to others (dependencies, steps of a group, a durable run under
-- way): they end here. A schedule is taken between two ticks.
with chosen as (
  select t.id
  from pgsched.tasks t
  where t.tenant_id = %(tenant_id)s and t.id > %(after_id)s and t.status not in ('running', 'blocked')
    and t.parent_id is null and t.fired is null and not t.observed and t.depends_on = '{}'
    and (t.schedule_type <> 'one_time' or not exists (select from pgsched.tasks c where c.parent_id = t.id))
    and not exists (select from pgsched.durable_runs r where r.task_id = t.id)
    and not exists (select from pgsched.durable_events e where e.task_id = t.id and e.consumed_at is null)
  order by t.id
  limit %(limit)s
  for update of t skip locked
), gone as (
  delete from pgsched.tasks t using chosen c where t.id = c.id returning t.*
)
insert into pgsched.departing_tasks (id, tenant_id, task)
select g.id, g.tenant_id, to_jsonb(g) from gone g
returning id
