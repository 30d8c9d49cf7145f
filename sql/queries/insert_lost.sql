-- Records attempts that were lost with the transaction that had locked their rows. They do not count: their number is
-- 0. A COMMIT whose answer was lost may have succeeded: then the token is in the row, or the attempt in the history.
insert into pgsched.executions (
  task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
  duration_ms, error)
select d.id, d.task_type, d.queue, 0, d.token, d.scheduled_for, %(worker)s, 'lost',
  statement_timestamp() - d.started_ago * interval '1 second',
  statement_timestamp() - d.ended_ago * interval '1 second',
  (d.started_ago - d.ended_ago) * 1000, 'the transaction that had locked the task was lost; this attempt is not counted'
from unnest(
  %(ids)s::bigint[], %(tokens)s::bigint[], %(task_types)s::text[], %(queues)s::text[],
  %(scheduled)s::timestamptz[], %(started_ago)s::float8[], %(ended_ago)s::float8[])
  as d(id, token, task_type, queue, scheduled_for, started_ago, ended_ago)
where not exists (select from pgsched.tasks t where t.id = any(array[d.id]) and t.fencing_token = d.token)
  and not exists (select from pgsched.executions e where e.task_id = d.id and e.fencing_token = d.token)
