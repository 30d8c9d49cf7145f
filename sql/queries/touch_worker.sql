-- Writes the worker's own row as it is: refused by a server that takes no writes at all.
update pgsched.workers set heartbeat_at = heartbeat_at where id = %(worker)s
