-- Lists types with a task that waits for newer code than the last worker that took it had, as recorded in the register.
select h.task_type, h.misfit_task_id as task_id, h.versions -> -1 ->> 'version' as version,
  h.versions -> -1 ->> 'since' as since
from pgsched.handlers h
join pgsched.tasks t on t.id = h.misfit_task_id
where h.misfit_at > now() - interval '1 hour' and t.status in ('pending', 'blocked')
  and t.last_error like 'payload does not fit handler %%, and waits for newer code%%'
order by h.misfit_at desc
limit 20
