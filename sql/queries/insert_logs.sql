-- Inserts the log lines of handlers, before the outcome and in its transaction where there is one. An attempt that is
-- in the history already has its lines, and recurs only because an answer was lost, unless the lines are late: logged
-- by a handler that continued after its attempt was cancelled or timed out. Lines of a claim that a failover has lost
-- are dropped if another worker has claimed the task under the same token.
insert into pgsched.execution_logs (task_id, fencing_token, attempt, logged_at, level, message, fields)
select d.id, d.token, d.attempt, statement_timestamp() - d.ago * interval '1 second', d.level, d.message,
  d.fields::jsonb
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(attempts)s::integer[], %(ago)s::float8[], %(levels)s::text[],
  %(messages)s::text[], %(fields)s::text[]) as d(id, token, attempt, ago, level, message, fields)
-- A lookup per row, whatever the planner assumes about the history.
where (%(late)s::boolean or (
  select true from pgsched.executions e
  where e.task_id = d.id and e.fencing_token = d.token and e.status <> 'lost'
  limit 1) is null)
  and (
    select true from pgsched.tasks t
    where t.id = any(array[d.id]) and t.fencing_token = d.token and t.locked_by <> %(worker)s) is null
