-- Lists the last events sent to a durable task, in the order in which they were sent.
select e.id, e.task_id, e.tick_number, e.name, e.payload, e.key, e.sent_by, e.sent_at, e.consumed_at
from (
  select *
  from pgsched.visible_durable_events
  where task_id = %(task_id)s
  order by id desc
  limit %(limit)s
) e
order by e.id
