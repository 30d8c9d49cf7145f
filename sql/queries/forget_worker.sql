-- A worker that stops in order takes its row along, and the list of what it had set aside.
with gone as (delete from pgsched.workers where id = %(worker)s)
delete from pgsched.set_aside where worker_id = %(worker)s
