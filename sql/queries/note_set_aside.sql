-- Publishes this worker's set-aside list. Times are passed as seconds ago, since the worker has its own clock.
insert into pgsched.set_aside as s (worker_id, task_id, task_type, queue, operation, reason, tries, since)
select %(worker)s, d.id, d.task_type, d.queue, d.operation, d.reason, d.tries,
  statement_timestamp() - d.ago * interval '1 second'
from unnest(%(ids)s::bigint[], %(task_types)s::text[], %(queues)s::text[], %(operations)s::text[], %(reasons)s::text[],
  %(tries)s::integer[], %(ago)s::float8[]) as d(id, task_type, queue, operation, reason, tries, ago)
on conflict (worker_id, task_id) do update
set operation = excluded.operation, reason = excluded.reason, tries = excluded.tries
