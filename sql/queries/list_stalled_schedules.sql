-- Schedules whose tick is due for a while and that nobody runs.
select t.*
from pgsched.tasks t
where t.schedule_type <> 'one_time' and t.enabled and t.next_run_at < now() - %(since)s::interval
  and (t.locked_until is null or t.locked_until < now())
order by t.id desc
limit %(limit)s
