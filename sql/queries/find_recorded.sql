-- Finds the claims that this worker has already finished. Runs when a finish was sent twice because the first answer
-- was lost, so that the repetition is not taken for a fenced finish. What it returns is an acknowledgement, so it also
-- writes an empty message: its commit then waits for the synchronous standby, which must have what was found too. The
-- first commit may have been cancelled while it waited, and can be seen although no standby has it.
with durable as materialized (select pg_catalog.pg_logical_emit_message(true, 'pgsched', '') as position)
select e.task_id, e.fencing_token
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as d(id, token)
join pgsched.executions e on e.task_id = d.id and e.fencing_token = d.token
cross join durable
where e.worker_id = %(worker)s and e.status <> 'lost'
