-- Tasks that were parked by a move and are not known to have arrived.
select d.id, d.task::text as task
from pgsched.departing_tasks d
where d.tenant_id = %(tenant_id)s
order by d.id
limit %(limit)s
