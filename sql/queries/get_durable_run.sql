-- Returns the run of a durable task that has recorded something and is not over.
select r.task_id, r.tick_number, r.began_at, r.code_version, r.awaits, r.wakes_at, r.unasked
from pgsched.visible_durable_runs r
where r.task_id = %(task_id)s
