-- Deletes a worker that shuts down orderly, and its set-aside list.
with gone as (delete from pgsched.workers where id = %(worker)s)
delete from pgsched.set_aside where worker_id = %(worker)s
