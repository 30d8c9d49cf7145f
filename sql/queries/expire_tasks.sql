-- Cancels up to %(most)s tasks that have not started by their expires_at; returns how many.
select pgsched.expire_tasks(%(most)s)
