-- Marks prefetched rows as started: from now on their attempt counts, whatever happens to the worker. A row locked by
-- another session is skipped, and missing from the returned ids.
with own as (
  select t.id
  from unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) as d(id, token)
  cross join lateral (
    select t.id from pgsched.tasks t
    where t.id = any(array[d.id]) and t.fencing_token = d.token and t.locked_by = %(worker)s and t.status = 'running'
    for no key update skip locked) t
)
update pgsched.tasks t
set unbegun_token = null
from own
where t.id = any(array[own.id])
returning t.id
