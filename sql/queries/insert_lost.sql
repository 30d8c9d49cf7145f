-- Notes attempts that were lost with the transaction that had locked their rows. They are not counted: 0 is their number.
insert into pgsched.executions (
  task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id, status, started_at, finished_at,
  duration_ms, error)
select id, task_type, queue, 0, token, scheduled_for, %(worker)s, 'lost',
  statement_timestamp() - started_ago * interval '1 second', statement_timestamp() - ended_ago * interval '1 second',
  (started_ago - ended_ago) * 1000, 'the transaction that had locked the task was lost; this attempt is not counted'
from unnest(
  %(ids)s::bigint[], %(tokens)s::bigint[], %(task_types)s::text[], %(queues)s::text[],
  %(scheduled)s::timestamptz[], %(started_ago)s::float8[], %(ended_ago)s::float8[])
  as d(id, token, task_type, queue, scheduled_for, started_ago, ended_ago)
