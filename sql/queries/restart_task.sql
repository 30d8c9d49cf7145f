-- Runs a durable task afresh, or from one of its steps on.
select pgsched.restart(%(id)s, %(from_step)s::text, %(from_key)s::text)
