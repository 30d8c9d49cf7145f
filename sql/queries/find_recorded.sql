-- Finds the claims that this worker has already finished. Runs when a finish was sent twice because the first answer
-- was lost, so that the repetition is not taken for a fenced finish.
select e.task_id, e.fencing_token
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as d(id, token)
join pgsched.executions e on e.task_id = d.id and e.fencing_token = d.token
where e.worker_id = %(worker)s and e.status <> 'lost'
