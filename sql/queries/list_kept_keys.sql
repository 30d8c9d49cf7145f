-- The keys of a tenant's tasks that stay in this database, and those that stayed in others before.
select s.name as shard, t.id, t.idempotency_key::text
from pgsched.tasks t
join pgsched.shards s on s.is_here
where t.tenant_id = %(tenant_id)s and t.idempotency_key is not null
union all
select a.shard, a.id, a.idempotency_key
from pgsched.arrived_tasks a
where a.tenant_id = %(tenant_id)s and a.task_id is null and a.idempotency_key is not null
