-- Cancels a task for good.
select pgsched.cancel(%(id)s)
