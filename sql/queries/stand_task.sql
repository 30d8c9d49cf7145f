-- What the row of a task does not say of how it stands: the time, the days of the calendars that its cron expression names, and
-- whether a child of a schedule that may overlap itself runs one of its ticks.
select clock_timestamp() as now, pgsched.calendar_days(t.cron_expression) as left_out,
  exists (
    select from pgsched.visible_tasks c
    where c.parent_id = t.id and c.status = 'running' and c.idempotency_key like 'tick:%%') as ticks_running
from pgsched.visible_tasks t
where t.id = %(id)s
