-- Finishes completed one-time tasks in the transaction that has locked them: claim, outcome and history in one row
-- version. No other worker can have taken such a row, so there is no fence; but a suppressed update is an error here,
-- because the handler has run. Unblocks the tasks that depend on these rows. In queues with retention 0 the rows are
-- removed instead (pgsched.leave).
with departed as (
  select l.id
  from pgsched.leave(%(worker)s, %(ids)s::bigint[], %(tokens)s::bigint[], %(started_ago)s::float8[],
    %(seconds)s::float8[], %(results)s::text[], false) as l(id)
  where (select s.retention = '0' from pgsched.settings s)
    or exists (select from pgsched.queues q where q.retention = '0' and q.name = any(%(queues)s::text[]))
),
done as (
  select *
  from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(started_ago)s::float8[], %(seconds)s::float8[],
    %(results)s::text[])
    as d(id, token, started_ago, seconds, result)
  -- No join: the others are updated in the order of their ids, after these are removed.
  where d.id not in (select l.id from departed l)
),
finished as (
  update pgsched.tasks t
  set status = 'completed', next_run_at = null, completed_at = statement_timestamp(), attempts = t.attempts + 1,
    fencing_token = done.token, started_at = statement_timestamp() - done.started_ago * interval '1 second',
    last_run_at = statement_timestamp() - done.started_ago * interval '1 second',
    execution_count = t.execution_count + 1,
    result = done.result::jsonb, last_error = null, updated_at = statement_timestamp()
  from done
  where t.id = any(array[done.id]) and t.status = 'pending'
  returning t.id, t.task_type, t.queue, t.attempts, t.fencing_token, t.scheduled_for, t.last_run_at, done.seconds,
    t.result, t.observed
),
history as (
  insert into pgsched.executions (
    task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
    duration_ms, result)
  select id, task_type, queue, attempts, fencing_token, scheduled_for, %(worker)s, 'completed', last_run_at,
    last_run_at + seconds * interval '1 second', seconds * 1000, result
  from finished
)
select written.number / (written.number = cardinality(%(ids)s::bigint[]))::integer, written.settled
from (
  select count(*) + (select count(*) from departed) as number,
    case when bool_or(observed) then pgsched.settle(array_agg(id) filter (where observed)) end as settled
  from finished
) written
