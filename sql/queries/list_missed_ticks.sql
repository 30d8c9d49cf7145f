-- Lists the ticks of one schedule that were not run, the latest first.
select m.task_id, m.reason, m.ticks, m.first_tick, m.next_tick, m.noted_at
from pgsched.visible_missed_ticks m
where m.task_id = %(task_id)s
order by m.noted_at desc
limit %(limit)s
