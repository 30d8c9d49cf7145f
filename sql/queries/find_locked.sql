-- Finds the claims that this worker still holds and that another session has locked now: their finish would wait.
select t.id
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as d(id, token)
join pgsched.tasks t on t.id = any(array[d.id]) and t.fencing_token = d.token and t.locked_by = %(worker)s
where t.id not in (
  select f.id from pgsched.tasks f where f.id = any(%(ids)s::bigint[]) for no key update skip locked)
