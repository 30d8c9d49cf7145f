-- The time of the database, and whether a child of a schedule that may overlap itself runs one of its ticks.
select clock_timestamp() as now,
  exists (
    select from pgsched.visible_tasks c
    where c.parent_id = %(id)s and c.status = 'running' and c.idempotency_key like 'tick:%%') as ticks_running
