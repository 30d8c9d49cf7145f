-- Lists schedules whose tick has been due for a while and which no worker runs.
select t.*
from pgsched.tasks t
where t.schedule_type <> 'one_time' and pgsched.is_claimable(t) and t.next_run_at < now() - %(since)s::interval
order by t.id desc
limit %(limit)s
