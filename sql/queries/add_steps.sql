-- Adds steps to a group whose steps run, and returns their ids.
select pgsched.add_steps(%(id)s, %(steps)s::jsonb) as ids
