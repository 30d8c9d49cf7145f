-- A worker that stops in order takes its row along.
delete from pgsched.workers where id = %(worker)s
