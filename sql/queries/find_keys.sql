-- Finds the tasks that have given idempotency keys.
select t.id, t.idempotency_key
from pgsched.tasks t
where t.idempotency_key operator(pg_catalog.=) any (%(keys)s::pg_catalog.text[])
