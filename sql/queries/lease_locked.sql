-- Leases rows that this transaction has locked, with the token that their claim drew. Rows in `unbegun` have not
-- started: if their worker is lost, that counts no attempt. Returns the rows whose update was not suppressed.
update pgsched.tasks t
set status = 'running', locked_by = %(worker)s,
  locked_until = statement_timestamp() + %(lease)s::float8 * interval '1 second', attempts = t.attempts + 1,
  fencing_token = d.token, started_at = statement_timestamp() - d.started_ago * interval '1 second',
  unbegun_token = case when d.unbegun then d.token end
from unnest(%(ids)s::bigint[], %(tokens)s::bigint[], %(started_ago)s::float8[], %(unbegun)s::boolean[])
  as d(id, token, started_ago, unbegun)
where t.id = any(array[d.id]) and t.status = 'pending'
returning t.id
