-- Rewrites the worker's own row unchanged: rejected by a server that accepts no writes at all.
update pgsched.workers set heartbeat_at = heartbeat_at where id = %(worker)s
