-- Runs after a claim whose answer was lost: finds the rows that it took and that this worker does not know of. `held`
-- names the rows that the worker has, including those that it started and abandoned. It reads every due row, so it runs
-- only then.
select t.id, t.fencing_token
from pgsched.tasks t
where t.next_run_at is not null and t.enabled and t.queue = any(%(queues)s::text[]) and t.next_run_at <= now()
  and t.locked_by = %(worker)s and t.id <> all(%(held)s::bigint[])
