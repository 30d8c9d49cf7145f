-- Which of these claims have been finished by us after all: asked when a finish was sent twice because the answer to
-- the first was lost, so that it is not taken for fenced.
select e.task_id, e.fencing_token
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as d(id, token)
join pgsched.executions e on e.task_id = d.id and e.fencing_token = d.token
where e.worker_id = %(worker)s and e.status <> 'lost'
