-- Removes tasks from this worker's set-aside list: it has handled them, or they no longer exist.
delete from pgsched.set_aside where worker_id = %(worker)s and task_id = any(%(ids)s::bigint[])
