-- Pauses a task. Returns false if it was paused already.
select pgsched.disable(%(id)s) as changed
