-- Finds the rows that claim_limited.sql would claim, in its order, after the database rejected the claim: without
-- payloads.
select (c.task).id, (c.task).task_type, (c.task).queue
from pgsched.claim_limited(
  %(queues)s::text[], %(rooms)s::integer[], %(room)s::integer, %(bytes)s::bigint, %(worker)s::uuid, %(lease)s::float8,
  %(task_types)s::text[], %(set_aside)s::bigint[], true) as c
where c.size is not null
