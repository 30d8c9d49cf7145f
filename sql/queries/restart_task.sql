-- Restarts a durable task from the beginning, or from one of its steps.
select pgsched.restart(%(id)s, %(from_step)s::text, %(from_key)s::text)
