-- Finds the claims that this worker still holds after a finish that did not reach their rows, because something such as
-- a user's trigger that returns null suppressed the update. Runs only when fewer rows were written than expected.
select t.id
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as d(id, token)
join pgsched.tasks t on t.id = any(array[d.id]) and t.fencing_token = d.token and t.locked_by = %(worker)s
