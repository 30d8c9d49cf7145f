-- Returns what the row of a task does not say about its state: the time, the days of the calendars that its cron
-- expression names, and whether a child runs one of its ticks if it may overlap itself.
select clock_timestamp() as now, pgsched.calendar_days(t.cron_expression) as left_out,
  exists (
    select from pgsched.visible_tasks c
    where c.parent_id = t.id and c.status = 'running' and c.idempotency_key like 'tick:%%') as ticks_running
from pgsched.known_tasks t
where t.id = %(id)s
limit 1
