-- Stores the progress that running handlers reported, as long as the worker still holds the claim.
update pgsched.tasks t
set progress = d.progress::jsonb
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(values)s::text[]) as d(id, token, progress)
where t.id = any(array[d.id]) and t.fencing_token = d.token and t.locked_by = %(worker)s
  and t.status = 'running'
