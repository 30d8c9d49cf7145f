-- Pauses a task; whether it was not paused before.
select pgsched.disable(%(id)s) as changed
