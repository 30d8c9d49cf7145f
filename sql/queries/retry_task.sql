-- Gives a task all its attempts again.
select pgsched.retry(%(id)s)
