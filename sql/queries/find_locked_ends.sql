-- Returns the state of rows locked by a transaction whose COMMIT was not answered: leased to this worker by it, or
-- ended. Waits for the lock of a row if that transaction has not ended yet, and by an empty message for the synchronous
-- standby, as find_recorded.sql: a lock alone writes nothing if the row was deleted on completion.
with durable as materialized (select pg_catalog.pg_logical_emit_message(true, 'pgsched', '') as position)
select d.id, t.id is not null as leased,
  exists (
    select from pgsched.executions e
    where e.task_id = d.id and e.fencing_token = d.token and e.worker_id = %(worker)s) as ended
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as d(id, token)
cross join durable
left join lateral (
  select t.id, t.locked_by, t.fencing_token, t.status from pgsched.tasks t
  where t.id = any(array[d.id]) for no key update
) t on t.fencing_token = d.token and t.locked_by = %(worker)s and t.status = 'running'
