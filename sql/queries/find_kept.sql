-- Which of these claims are still this worker's after a finish that did not reach them: something dropped the update, such as a
-- trigger of a user that returns null. Asked only when fewer rows were written than should be.
select t.id
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as d(id, token)
join pgsched.tasks t on t.id = any(array[d.id]) and t.fencing_token = d.token and t.locked_by = %(worker)s
