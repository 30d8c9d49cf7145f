-- Reads the last events sent to a durable task, in the order in which they were sent. Long payloads are left out.
select e.id, e.task_id, e.tick_number, e.name, case when e.is_short then e.payload end as payload,
  e.payload is not null and not e.is_short as left_out, e.key, e.sent_by, e.sent_at, e.consumed_at
from (
  select o.*, pg_column_size(o.payload) <= 16384 and octet_length(o.payload::text) <= %(longest)s as is_short
  from pgsched.durable_events o
  where o.task_id = %(task_id)s
  order by o.id desc
  limit %(limit)s
) e
order by e.id
