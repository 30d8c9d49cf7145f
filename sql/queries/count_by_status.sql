-- Counts the tasks in each status, in one queue or in all: by indexes, and above a cap by estimate.
select status, number, exact from pgsched.count_tasks(%(queue)s::text)
