-- Which of these rows can be claimed: the others have the SQLSTATE and the message that their claim fails with. A row that
-- is not due, or is somebody else's by now, is not among them.
select c.id, c.task_type, c.queue, c.state, c.message
from pgsched.try_claims(%(ids)s::bigint[], %(worker)s::uuid) c
