-- Lists the schedules declared in code, and whether a live worker still declares them.
select t.id, t.task_type::text, t.task_name::text, t.idempotency_key::text, t.enabled,
  exists (
    select from pgsched.workers w
    where w.heartbeat_at > now() - 3 * w.lease and w.declared_keys @> array[t.idempotency_key::text]) as is_alive
from pgsched.tasks t
where t.declared is not null
order by t.id
