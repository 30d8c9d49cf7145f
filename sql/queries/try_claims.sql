-- Tries to claim each of these rows by itself; a row that fails has the SQLSTATE and message of its error. Rows that
-- are not due, or belong to another worker by now, are not returned.
select c.id, c.task_type, c.queue, c.state, c.message
from pgsched.try_claims(%(ids)s::bigint[], %(worker)s::uuid) c
