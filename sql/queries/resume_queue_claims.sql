-- Claims go on; the table's trigger wakes the workers that sleep.
update pgsched.queues set paused = false, updated_at = now() where name = %(name)s and paused
returning name
