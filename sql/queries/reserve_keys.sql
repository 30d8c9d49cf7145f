-- Reserves the keys of tasks that stay in other shards: inserts with them are refused here.
insert into pgsched.arrived_tasks (shard, id, tenant_id, idempotency_key)
select k.shard, k.id, %(tenant_id)s, k.key
from unnest(%(shards)s::text[], %(ids)s::bigint[], %(keys)s::text[]) k(shard, id, key)
on conflict (shard, id) do update set idempotency_key = excluded.idempotency_key
where pgsched.arrived_tasks.task_id is null
returning id
