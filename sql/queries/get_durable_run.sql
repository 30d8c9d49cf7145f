-- Returns the unfinished run of a durable task, if it has recorded anything.
select r.task_id, r.tick_number, r.began_at, r.code_version, r.awaits, r.wakes_at, r.unasked
from pgsched.visible_durable_runs r
where r.task_id = %(task_id)s
