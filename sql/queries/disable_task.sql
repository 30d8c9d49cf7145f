-- Pauses a task. Returns false if it was already paused.
select pgsched.disable(%(id)s) as changed
