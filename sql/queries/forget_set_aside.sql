-- This worker has done what it had set aside, or the tasks are gone.
delete from pgsched.set_aside where worker_id = %(worker)s and task_id = any(%(ids)s::bigint[])
