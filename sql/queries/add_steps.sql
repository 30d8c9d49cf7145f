-- Adds steps to a group whose steps are running, and returns their ids.
select pgsched.add_steps(%(id)s, %(steps)s::jsonb) as ids
