-- Returns what a task's state depends on beyond its row: the time, the days of the calendars that its cron expression
-- names, whether a child runs one of its ticks if it may overlap itself, what a durable task waits for, and its
-- version.
select clock_timestamp() as now, pgsched.calendar_days(t.cron_expression) as left_out,
  exists (
    select from pgsched.visible_tasks c
    where c.parent_id = t.id and c.status = 'running' and c.idempotency_key like 'tick:%%') as ticks_running,
  r.awaits, r.wakes_at, pgsched.version_of(to_jsonb(t)) as version
from pgsched.known_tasks t
left join pgsched.visible_durable_runs r on r.task_id = %(id)s and t.status = 'blocked'
where t.id = %(id)s
limit 1
