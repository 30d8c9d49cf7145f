-- Adds the steps that an attempt requested to its group, before its finish and fenced like it.
select pgsched.add_steps_by(%(worker)s, %(id)s, %(token)s, %(steps)s::jsonb)
