-- The heartbeat: this worker lives, and the leases it holds are renewed. Returns the ids that were renewed; one that is
-- missing was lost. Registers the worker again when a crash of the server emptied the unlogged table.
with alive as (
  insert into pgsched.workers as w (id, hostname, pid, queues, patterns, task_types, declared_keys, concurrency, running, started_at, lease)
  values (%(worker)s, %(hostname)s, %(pid)s, %(queues)s, %(patterns)s, %(task_types)s, %(declared_keys)s, %(concurrency)s, %(running)s,
    now() - %(age)s::float8 * interval '1 second', %(lease)s::float8 * interval '1 second')
  on conflict (id) do update set heartbeat_at = now(), running = excluded.running
)
update pgsched.tasks t
set locked_until = now() + %(lease)s::float8 * interval '1 second'
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as held(id, token)
where t.id = any(array[held.id]) and t.fencing_token = held.token and t.status = 'running'
returning t.id
