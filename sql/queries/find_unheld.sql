-- After a claim whose answer was lost: rows that it took, which this worker does not know it has. What it has begun and given
-- up is not among them: `held` names that, too. Looks through every due row, so it is asked only then.
select t.id, t.fencing_token
from pgsched.tasks t
where t.next_run_at is not null and t.enabled and t.queue = any(%(queues)s::text[]) and t.next_run_at <= now()
  and t.locked_by = %(worker)s and t.id <> all(%(held)s::bigint[])
