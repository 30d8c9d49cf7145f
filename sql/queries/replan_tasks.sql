-- Rebooks every waiting schedule from now, and those that ended although a tick is still to come, because their clock
-- was ahead. Locks rows in the order of their ids, like every statement that locks many.
select count(*) as planned
from (
  select pgsched.replan(t.id)
  from (
    select t.id
    from pgsched.tasks t
    where t.schedule_type <> 'one_time' and (t.status = 'pending' or t.status = 'completed' and t.scheduled_for > now())
    order by t.id
    for no key update
  ) t
) done
