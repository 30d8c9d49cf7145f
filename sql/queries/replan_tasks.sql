-- All schedules that wait are booked afresh from now, and those that ended with a tick that is still to come: their clock was
-- ahead. In the order of ids, as all who lock many rows.
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
